// Which vectors meet in which round of a sweep.
#pragma once

#include <cuda_runtime.h>

namespace qkspace {

struct VectorPair {
  int first, second;  // first < second
};

// Pair `k` of round `round`, `size` even: over size - 1 rounds of size / 2 pairs, every two of 0 .. size - 1 meet
// exactly once (the circle method: one index stands, the others turn).
__host__ __device__ inline VectorPair pairOfRound(int size, int round, int k) {
  const int circle = size - 1;
  int a, b;
  if (k == 0) {
    a = circle;
    b = round;
  } else {
    a = round + k < circle ? round + k : round + k - circle;
    b = round - k >= 0 ? round - k : round - k + circle;
  }
  return a < b ? VectorPair{a, b} : VectorPair{b, a};
}

}  // namespace qkspace
