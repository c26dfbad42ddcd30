#include "cuda/rows/range/nonfinite_rows.h"

#include <algorithm>
#include <limits>
#include <string>

#include "common/status.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/memory.h"

namespace qkspace {
namespace {

// Infinity and NaN have all bits of the exponent.
bool notFinite(const RowView& v, int64_t at) {
  if (v.dtype == QKS_F32) {
    return (static_cast<const uint32_t*>(v.data)[at] & 0x7f800000u) == 0x7f800000u;
  }
  const uint32_t exponent = v.dtype == QKS_F16 ? 0x7c00u : 0x7f80u;
  return (static_cast<const uint16_t*>(v.data)[at] & exponent) == exponent;
}

constexpr int kRowThreads = 256;

// A row of a head a warp.
__global__ void findRowKernel(DeviceRows rows, const int32_t* wanted, int64_t count, unsigned long long* found) {
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (warp >= count) {
    return;
  }
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const int64_t at = rowOffset(rows, wanted[warp], head);
  int bad = 0;
  for (int i = lane; i < rows.d; i += 32) {
    const float x = loadElement(rows, at + i);
    bad |= !(x - x == 0);
  }
  if (__ballot_sync(0xffffffffu, bad) && lane == 0) {
    atomicMin(found, static_cast<unsigned long long>(head) << 32 | static_cast<unsigned long long>(wanted[warp]));
  }
}

}  // namespace

void failNonFinite(const char* name, const HeadRow& found) {
  fail(QKS_E_NON_FINITE, std::string(name) + " is not finite at head " + std::to_string(found.head) + ", row " +
                             std::to_string(found.row));
}

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
      for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < d; i++) {
          if (notFinite(v, at + h * v.headStride + i * v.dimStride)) {
            first = std::min(first, h << 32 | row);
          }
        }
      }
    }
  });
  const int64_t first = least.empty() ? kNone : *std::min_element(least.begin(), least.end());
  found = {static_cast<int32_t>(first >> 32), static_cast<int32_t>(first & 0xffffffff)};
  return first != kNone;
}

bool findNonFiniteRow(Device& device, const DeviceRows& rows, const int32_t* wanted, int64_t count, HeadRow& found) {
  if (count == 0) {
    return false;
  }
  DeviceBuffer least(device.budget);
  unsigned long long at = ~0ull;
  least.reserve(sizeof at, "a row's number");
  check(cudaMemsetAsync(least.get<char>(), 0xff, sizeof at, device.stream), "clearing a row's number");
  const dim3 grid(static_cast<uint32_t>((count * 32 + kRowThreads - 1) / kRowThreads),
                  static_cast<uint32_t>(rows.heads));
  launch("looking for the row", findRowKernel, grid, dim3(kRowThreads), 0, device.stream, rows, wanted, count,
         least.get<unsigned long long>());
  check(cudaMemcpyAsync(&at, least.get<char>(), sizeof at, cudaMemcpyDeviceToHost, device.stream),
        "reading a row's number");
  device.stream.finish("looking for the row");
  found = {static_cast<int32_t>(at >> 32), static_cast<int32_t>(at & 0xffffffffu)};
  return at != ~0ull;
}

}  // namespace qkspace
