// How the slices of a chunk are shared out among launches: waves of at most as many as there is memory for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/rows/device_terms.cuh"
#include "cuda/rows/sent_batch.h"

namespace qkspace {

// Slices that one launch sums: [from, to) of all, and the contrasts that they belong to.
struct Wave {
  int32_t from, to;
  int32_t contrasts;           // how many
  size_t contrastAt, firstAt;  // in the blob
};

inline std::vector<Wave> wavesOf(const std::vector<Slice>& slices, int64_t most, Blob& blob) {
  std::vector<Wave> waves;
  const int32_t count = static_cast<int32_t>(slices.size());
  for (int32_t from = 0; from < count;) {
    const int32_t to = static_cast<int32_t>(std::min<int64_t>(count, from + most));
    std::vector<int32_t> contrasts, first;
    for (int32_t s = from; s < to; s++) {
      if (s == from || slices[static_cast<size_t>(s)].contrast != slices[static_cast<size_t>(s) - 1].contrast) {
        contrasts.push_back(slices[static_cast<size_t>(s)].contrast);
        first.push_back(s - from);
      }
    }
    const int32_t kinds = static_cast<int32_t>(contrasts.size());
    first.push_back(to - from);
    const size_t contrastAt = blob.add(contrasts);
    waves.push_back({from, to, kinds, contrastAt, blob.add(first)});
    from = to;
  }
  return waves;
}

}  // namespace qkspace
