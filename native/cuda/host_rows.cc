#include "cuda/host_rows.h"

#include <algorithm>
#include <limits>

namespace qkspace {
namespace {

// Infinity and NaN have all bits of the exponent.
bool notFinite(const RowView& v, int64_t at) {
  if (v.dtype == QKS_F32) return (static_cast<const uint32_t*>(v.data)[at] & 0x7f800000u) == 0x7f800000u;
  const uint32_t exponent = v.dtype == QKS_F16 ? 0x7c00u : 0x7f80u;
  return (static_cast<const uint16_t*>(v.data)[at] & exponent) == exponent;
}

}  // namespace

bool findNonFiniteHostRow(const RowView& v, int32_t heads, int32_t d, const std::vector<int32_t>& rows, Pool& pool,
                          HeadRow& found) {
  constexpr size_t kRowsATask = 256;
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  // Of each task, head and row as one number.
  std::vector<int64_t> least((rows.size() + kRowsATask - 1) / kRowsATask, kNone);
  pool.run(0, static_cast<int64_t>(least.size()), [&](int64_t task, int) {
    int64_t& first = least[static_cast<size_t>(task)];
    const size_t from = static_cast<size_t>(task) * kRowsATask, to = std::min(rows.size(), from + kRowsATask);
    for (size_t r = from; r < to; r++) {
      const int64_t row = rows[r], at = row / v.pos * v.batchStride + row % v.pos * v.posStride;
      for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < d; i++)
          if (notFinite(v, at + h * v.headStride + i * v.dimStride)) first = std::min(first, h << 32 | row);
    }
  });
  const int64_t first = least.empty() ? kNone : *std::min_element(least.begin(), least.end());
  found = {static_cast<int32_t>(first >> 32), static_cast<int32_t>(first & 0xffffffff)};
  return first != kNone;
}

}  // namespace qkspace
