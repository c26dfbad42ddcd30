// f64 products of matrices of up to 128 x 128 on tensor cores (mma.sync m8n8k4, compute capability 8.0 and later), by a
// block of 256 threads: a warp has 32 x 64 of the result in registers.
//
// Fragments, lane = 4 g + t: of A row g, column t; of B row t, column g; of the result row g, columns 2 t and 2 t + 1.
//
// Layout: operands in shared memory with strides that are 4 above a multiple of 16, so that the 16 lanes that read 8
// bytes each at a time read from 16 different pairs of banks, by rows as by columns.
//
// Count: 128 x 128 x 128 is 8,192 instructions of 256 multiply-adds, at 128 a clock 16,384 clocks; fragments are read
// from shared memory in 12 loads of 256 bytes for 32 instructions, in three eighths of that time.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"

#if defined(QKS_CUDA_ON_HOST)
#include "tensor_core_on_host.h"
#endif

namespace qkspace {

constexpr int kTensorSide = 128, kTensorThreads = 256;
constexpr int kTensorStride = kTensorSide + 4;
constexpr int kPanelDepth = 16, kPanelStride = kPanelDepth + 4;
constexpr size_t kTensorDoubles = static_cast<size_t>(kTensorSide) * kTensorStride;
constexpr size_t kPanelDoubles = static_cast<size_t>(kTensorSide) * kPanelStride;

__device__ inline void multiplyF64(double (&d)[2], double a, double b) {
#if defined(QKS_CUDA_ON_HOST)
  multiplyF64OnHost(d, a, b);
#else
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(a), "d"(b));
#endif
}

// 32 x 64 of a result, by a warp.
struct TensorTile {
  double sum[4][8][2];
  int row, column;  // of this lane's first number

  __device__ inline TensorTile() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    row = warp / 2 * 32 + lane / 4;
    column = warp % 2 * 64 + 2 * (lane % 4);
  }
  __device__ inline void clear() {
    QKS_UNROLL
    for (int r = 0; r < 4; r++) {
      QKS_UNROLL
      for (int c = 0; c < 8; c++) {
        sum[r][c][0] = 0;
        sum[r][c][1] = 0;
      }
    }
  }
  // sum += left [128, depth] right [depth, 128]; entry (i, k) of left at i * leftRow + k, entry (k, j) of right at
  // k * rightRow + j * rightColumn.
  __device__ inline void add(const double* left, int leftRow, const double* right, int rightRow, int rightColumn,
                             int depth) {
    const int lane = threadIdx.x % 32, g = lane / 4, k = lane % 4;
    const double* a = left + row * leftRow + k;
    const double* b = right + k * rightRow + (column - 2 * k + g) * rightColumn;
    QKS_ROLLED
    for (int from = 0; from < depth; from += 4, a += 4, b += 4 * rightRow) {
      double x[4], y[8];
      QKS_UNROLL
      for (int e = 0; e < 4; e++) {
        x[e] = a[8 * e * leftRow];
      }
      QKS_UNROLL
      for (int e = 0; e < 8; e++) {
        y[e] = b[8 * e * rightColumn];
      }
      QKS_UNROLL
      for (int r = 0; r < 4; r++) {
        QKS_UNROLL
        for (int c = 0; c < 8; c++) {
          multiplyF64(sum[r][c], x[r], y[c]);
        }
      }
    }
  }
  // visit(i, j, sum) of all numbers.
  template <typename Visit>
  __device__ inline void each(Visit visit) {
    QKS_UNROLL
    for (int r = 0; r < 4; r++) {
      QKS_UNROLL
      for (int c = 0; c < 8; c++) {
        QKS_UNROLL
        for (int e = 0; e < 2; e++) {
          visit(row + 8 * r, column + 8 * c + e, sum[r][c][e]);
        }
      }
    }
  }
};

// Eight numbers as f64; zeros where they are not there.
template <typename T>
__device__ inline void loadEight(const T* from, bool there, double (&to)[8]) {
  constexpr int size = Packet<T>::size;
  QKS_UNROLL
  for (int p = 0; p < 8 / size; p++) {
    Packet<T> x{};
    if (there) {
      x = load(reinterpret_cast<const Packet<T>*>(from) + p);
    }
    QKS_UNROLL
    for (int e = 0; e < size; e++) {
      to[p * size + e] = static_cast<double>(x.x[e]);
    }
  }
}

__device__ inline void storeEight(const double (&from)[8], double* to) {
  QKS_UNROLL
  for (int p = 0; p < 4; p++) {
    store(reinterpret_cast<Packet<double>*>(to) + p, Packet<double>{{from[2 * p], from[2 * p + 1]}});
  }
}

// tile = x x^T, x [rows, ld] in global memory with ld a multiple of 32. `panels` has room for two. Ends with a barrier.
__device__ inline void gramProduct(TensorTile& tile, const double* x, int ld, int rows, double* panels) {
  const int i = threadIdx.x / 2, k = threadIdx.x % 2 * 8;
  double next[8];
  loadEight(x + static_cast<size_t>(i) * ld + k, i < rows, next);
  tile.clear();
  int turn = 0;
  for (int from = 0; from < ld; from += kPanelDepth, turn ^= 1) {
    double* panel = panels + turn * kPanelDoubles;
    storeEight(next, panel + i * kPanelStride + k);
    if (from + kPanelDepth < ld) {
      loadEight(x + static_cast<size_t>(i) * ld + from + kPanelDepth + k, i < rows, next);
    }
    __syncthreads();
    tile.add(panel, kPanelStride, panel, 1, kPanelStride, kPanelDepth);
  }
  __syncthreads();
}

// tile = left right, left [128, inner] in shared memory with stride kTensorStride, right [inner, ld] in global memory
// with ld at most 128. Ends with a barrier.
template <typename R>
__device__ inline void panelProduct(TensorTile& tile, const double* left, const R* right, int ld, int inner,
                                    double* panels) {
  const int k = threadIdx.x / 16, j = threadIdx.x % 16 * 8;
  double next[8];
  loadEight(right + static_cast<size_t>(k) * ld + j, k < inner && j < ld, next);
  tile.clear();
  int turn = 0;
  for (int from = 0; from < inner; from += kPanelDepth, turn ^= 1) {
    double* panel = panels + turn * kPanelDoubles;
    storeEight(next, panel + k * kTensorStride + j);
    const int then = from + kPanelDepth + k;
    if (from + kPanelDepth < inner) {
      loadEight(right + static_cast<size_t>(then) * ld + j, then < inner && j < ld, next);
    }
    __syncthreads();
    tile.add(left + from, kTensorStride, panel, kTensorStride, 1, kPanelDepth);
  }
  __syncthreads();
}

}  // namespace qkspace
