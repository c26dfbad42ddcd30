// One-sided Jacobi by one thread block: rotates n vectors (rows y_0 .. y_{n-1} of length ld, contiguous) in pairs
// until all are orthogonal, and applies the same rotations to the rows of v. With Y = V B, V orthogonal, the rows
// end as y_j = s_j u_j, so that B = V^T diag(s) U (Hestenes 1958).
//
//   a = |y_i|^2, b = |y_j|^2, g = y_i . y_j;  zeta = (b - a) / 2g;  t = sign(zeta) / (|zeta| + sqrt(1 + zeta^2))
//   y_i <- c (y_i - t y_j), y_j <- c (y_j + t y_i), c = 1 / sqrt(1 + t^2);  a <- a - t g, b <- b + t g
//
// Why this one on a GPU: the n / 2 rotations of a round are independent of each other, small singular vectors come
// out orthogonal relative to their own length, and a start that is nearly orthogonal costs next to nothing.
//
// Layout: rows padded by zeros to a multiple of 32 elements. Lanes read 16 bytes each, 128 contiguous ones of a row at
// a time, which is free of bank conflicts whatever the rows are.
//
// Count, a sweep: 9 n^2 / 2 multiply-adds a row element. In pairs: n - 1 rounds, each reads Y twice, V once, and
// writes both. In quads: n / 2 - 1 rounds, each reads and writes both once; at 128 x 128 in f32, 63 rounds of 256 KiB
// of shared memory = 2,048 clocks at 128 bytes a clock, beside about 2,200 of issue: bound by both.
//
// Vectors keep their places. To exchange two as they turn, so that the longer comes first, would undo the schedule:
// a third more sweeps, as counted.
#pragma once

#include <cuda_runtime.h>

#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/jacobi/pairs.cuh"
#include "cuda/svd/jacobi/quads.cuh"
#include "cuda/svd/jacobi/rotation.cuh"

namespace qkspace {

// Sweeps until one meets nothing above limits.another; squared lengths are fresh at the end. kLong: the length of a
// row that is known when this is compiled, 0 = any. Returns whether it settled.
template <typename T, int kLong>
__device__ bool jacobiSweeps(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  const JacobiVectors<T> w{y, v, n, ldy, ldv, lengths, least, limits};
  bool settled = n < 2;
  for (int sweep = 0; sweep < limits.sweeps && !settled; sweep++) {
    squaredLengths(y, n, ldy, lengths);
    __syncthreads();
    int met;
    if constexpr (kLong > 0) {
      met = sweepOfQuads<T, kLong / Packet<T>::size / kQuadLanes>(w);
    } else {
      met = sweepOfPairs(w);
    }
    settled = !__syncthreads_or(met);
  }
  squaredLengths(y, n, ldy, lengths);
  __syncthreads();
  return settled;
}

template <typename T>
__device__ inline bool jacobi(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  if (ldy == 128) {
    return jacobiSweeps<T, 128>(y, ldy, v, ldv, n, lengths, least, limits);
  }
  if (ldy == 64) {
    return jacobiSweeps<T, 64>(y, ldy, v, ldv, n, lengths, least, limits);
  }
  return jacobiSweeps<T, 0>(y, ldy, v, ldv, n, lengths, least, limits);
}

}  // namespace qkspace
