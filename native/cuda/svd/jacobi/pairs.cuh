// A sweep in which two vectors meet at a time, of any length.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/jacobi/rotation.cuh"
#include "cuda/svd/jacobi/schedule.cuh"

namespace qkspace {

// The plainest form: a round rotates n / 2 pairs, whose rows are read from memory twice. Returns whether this thread
// met a cosine that asks for another sweep.
template <typename T>
__device__ inline int sweepOfPairs(const JacobiVectors<T>& w) {
  typedef Packet<T> P;
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  const int size = (w.n + 1) / 2 * 2, pairs = size / 2;
  int met = 0;
  for (int round = 0; round < size - 1; round++) {
    for (int from = 0; from < pairs; from += groups) {
      const int k = from + group;
      VectorPair pair{0, w.n};
      if (k < pairs) {
        pair = pairOfRound(size, round, k);
      }
      T a = 0, b = 0, g = 0;
      if (pair.second < w.n) {
        a = w.lengths[pair.first];
        b = w.lengths[pair.second];
      }
      const bool both = a > w.least && b > w.least;
      P* first = reinterpret_cast<P*>(w.y + static_cast<size_t>(pair.first) * w.ldy);
      P* second = reinterpret_cast<P*>(w.y + static_cast<size_t>(pair.second) * w.ldy);
      for (int e = lane; both && e < w.ldy / P::size; e += kPairLanes) {
        g = dotOf(load(first + e), load(second + e), g);
      }
      g = pairSum(g);
      // Lane 0 writes the lengths below, and every lane has read them above.
      __syncwarp();
      if (!both || !(g * g > w.limits.rotate * (a * b))) {
        continue;
      }
      met |= g * g > w.limits.another * (a * b);
      const Rotation<T> r = rotationOf(a, b, g);
      for (int e = lane; e < w.ldy / P::size; e += kPairLanes) {
        turnRows(first + e, second + e, r.c, r.s);
      }
      if (w.v) {
        first = reinterpret_cast<P*>(w.v + static_cast<size_t>(pair.first) * w.ldv);
        second = reinterpret_cast<P*>(w.v + static_cast<size_t>(pair.second) * w.ldv);
        for (int e = lane; e < w.ldv / P::size; e += kPairLanes) {
          turnRows(first + e, second + e, r.c, r.s);
        }
      }
      if (lane == 0) {
        w.lengths[pair.first] = a - r.moved;
        w.lengths[pair.second] = b + r.moved;
      }
    }
    __syncthreads();
  }
  return met;
}

}  // namespace qkspace
