// The matrices of a batch as kernels read them.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/svd/block/packet.cuh"

namespace qkspace {

struct SvdShape {
  int rows, cols;
  int n, m;         // vectors and their length: the smaller side and the larger one
  int ldn, ldm;     // padded
  bool transposed;  // B = A^T
};

inline SvdShape shapeOf(int64_t rows, int64_t cols) {
  SvdShape s{};
  s.rows = static_cast<int>(rows);
  s.cols = static_cast<int>(cols);
  s.transposed = rows > cols;
  s.n = std::min(s.rows, s.cols);
  s.m = std::max(s.rows, s.cols);
  s.ldn = paddedLength(s.n);
  s.ldm = paddedLength(s.m);
  return s;
}

// Squared length, of the sum of squares, up to which a vector is rounding and nothing else.
__host__ __device__ inline double leastSquare(int n, double total) {
  const double part = 2.220446049250313e-16 * n;
  return part * part * total;
}

// What every kernel that decomposes works on: `count` matrices of a batch, and where their triplets go.
template <typename M>
struct MatrixTask {
  SvdShape shape;
  const M* matrices;     // [.., n, ldm]
  const double* totals;  // [..] sums of squares
  const int32_t* list;   // [count] which ones
  int count;
  double *y, *v;    // [.., n, ldm], [.., n, ldn]
  double* squares;  // [.., n] of singular values, in the order of the vectors
};

}  // namespace qkspace
