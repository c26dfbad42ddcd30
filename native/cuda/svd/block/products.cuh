// Matrix products in f64 by one thread block.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"

namespace qkspace {

// out(j, x, sum over k < inner of left[k][j] right[k][x]) for j < rows, x < width, in f64. A thread takes J rows of
// one column: threads of a warp read a row of `right` together, and the same entry of `left`.
template <int J, typename L, typename R, typename Out>
__device__ inline void transposedProduct(const L* left, int ldLeft, int rows, const R* right, int ldRight, int inner,
                                         int width, Out out) {
  const int bands = (rows + J - 1) / J;
  for (int tile = threadIdx.x; tile < bands * width; tile += blockDim.x) {
    const int x = tile % width, from = tile / width * J;
    double sum[J];
    QKS_UNROLL
    for (int e = 0; e < J; e++) {
      sum[e] = 0;
    }
    for (int k = 0; k < inner; k++) {
      const double y = static_cast<double>(right[static_cast<size_t>(k) * ldRight + x]);
      const L* row = left + static_cast<size_t>(k) * ldLeft;
      QKS_UNROLL
      for (int e = 0; e < J; e++) {
        sum[e] += static_cast<double>(row[from + e < rows ? from + e : rows - 1]) * y;
      }
    }
    QKS_UNROLL
    for (int e = 0; e < J; e++) {
      if (from + e < rows) {
        out(from + e, x, sum[e]);
      }
    }
  }
}

// out(j, x, sum over k < inner of left[j][k] right[k][x]), likewise. Rows of `left` are read 16 bytes at a time.
template <int J, typename L, typename R, typename Out>
__device__ inline void product(const L* left, int ldLeft, int rows, const R* right, int ldRight, int inner, int width,
                               Out out) {
  typedef Packet<L> P;
  const int bands = (rows + J - 1) / J;
  for (int tile = threadIdx.x; tile < bands * width; tile += blockDim.x) {
    const int x = tile % width, from = tile / width * J;
    double sum[J];
    const L* row[J];
    QKS_UNROLL
    for (int e = 0; e < J; e++) {
      sum[e] = 0;
      row[e] = left + static_cast<size_t>(from + e < rows ? from + e : rows - 1) * ldLeft;
    }
    const R* column = right + x;
    int k = 0;
    for (; k + P::size <= inner; k += P::size) {
      double y[P::size];
      QKS_UNROLL
      for (int i = 0; i < P::size; i++) {
        y[i] = static_cast<double>(column[static_cast<size_t>(k + i) * ldRight]);
      }
      QKS_UNROLL
      for (int e = 0; e < J; e++) {
        const P l = load(reinterpret_cast<const P*>(row[e] + k));
        QKS_UNROLL
        for (int i = 0; i < P::size; i++) {
          sum[e] += static_cast<double>(l.x[i]) * y[i];
        }
      }
    }
    for (; k < inner; k++) {
      const double y = static_cast<double>(column[static_cast<size_t>(k) * ldRight]);
      QKS_UNROLL
      for (int e = 0; e < J; e++) {
        sum[e] += static_cast<double>(row[e][k]) * y;
      }
    }
    QKS_UNROLL
    for (int e = 0; e < J; e++) {
      if (from + e < rows) {
        out(from + e, x, sum[e]);
      }
    }
  }
}

}  // namespace qkspace
