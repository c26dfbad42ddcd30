// How the slices of a chunk are shared out among launches: waves of as many as there is memory for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/rows/device_terms.cuh"
#include "cuda/rows/sent_batch.h"

namespace qkspace {

// Slices that one launch sums: [from, to) of all, their pairs, and the contrasts that they belong to.
struct Wave {
  int32_t from, to;
  int32_t firstPair, pairs;
  int32_t contrasts;           // how many
  size_t contrastAt, firstAt;  // in the blob
};

// At most `mostSlices` slices and, if there is more than one, `mostPairs` pairs each. Slices follow each other.
inline std::vector<Wave> wavesOf(const std::vector<Slice>& slices, int64_t mostSlices, int64_t mostPairs, Blob& blob) {
  std::vector<Wave> waves;
  const int32_t count = static_cast<int32_t>(slices.size());
  auto slice = [&](int32_t s) -> const Slice& { return slices[static_cast<size_t>(s)]; };
  for (int32_t from = 0; from < count;) {
    const int32_t firstPair = slice(from).from;
    int32_t to = from + 1;
    while (to < count && to - from < mostSlices && slice(to).to - firstPair <= mostPairs) {
      to++;
    }
    std::vector<int32_t> contrasts, first;
    for (int32_t s = from; s < to; s++) {
      if (s == from || slice(s).contrast != slice(s - 1).contrast) {
        contrasts.push_back(slice(s).contrast);
        first.push_back(s - from);
      }
    }
    const int32_t kinds = static_cast<int32_t>(contrasts.size());
    first.push_back(to - from);
    const size_t contrastAt = blob.add(contrasts);
    waves.push_back({from, to, firstPair, slice(to - 1).to - firstPair, kinds, contrastAt, blob.add(first)});
    from = to;
  }
  return waves;
}

}  // namespace qkspace
