#include "cuda/rows/slices.h"

#include <algorithm>

namespace qkspace {
namespace {

// Slices that few terms are cut into, if they have at least kLeastRows each: the sums of one head then come from some
// sixteen blocks.
constexpr int64_t kSlicesWanted = 16, kLeastRows = 128;

}  // namespace

int32_t sliceLength(int64_t terms, int32_t most) {
  const int64_t length = (terms + kSlicesWanted - 1) / kSlicesWanted;
  const int64_t whole = (length + kLeastRows - 1) / kLeastRows * kLeastRows;
  return static_cast<int32_t>(std::min<int64_t>(most, std::max(kLeastRows, whole)));
}

std::vector<Slice> slicesOfTerms(const int64_t* start, int32_t contrasts, int64_t from, int64_t to, int32_t most) {
  std::vector<Slice> slices;
  const int32_t length = sliceLength(to - from, most);
  for (int32_t c = 0; c < contrasts; c++) {
    const int64_t first = std::max(start[c], from), last = std::min(start[c + 1], to);
    for (int64_t at = first; at < last; at += length) {
      slices.push_back(
          {c, -1, static_cast<int32_t>(at - from), static_cast<int32_t>(std::min(last, at + length) - from)});
    }
  }
  return slices;
}

std::vector<Slice> slicesOfRuns(const LabelRun* runs, int64_t from, int64_t to, int32_t most) {
  std::vector<Slice> slices;
  int64_t terms = 0;
  for (int64_t r = from; r < to; r++) {
    terms += runs[r].termCount;
  }
  // A slice adds up the keys before it once more: no shorter than a quarter of the longest.
  const int32_t length = std::max(most / 4, sliceLength(terms, most));
  for (int64_t r = from; r < to; r++) {
    for (int64_t at = 0; at < runs[r].termCount; at += length) {
      slices.push_back({runs[r].contrast, static_cast<int32_t>(r - from), static_cast<int32_t>(at),
                        static_cast<int32_t>(std::min(runs[r].termCount, at + length))});
    }
  }
  return slices;
}

}  // namespace qkspace
