// C += Q^T K of one tile of rows on the tensor cores, f32 in, f32-accurate.
//
// Each f32 number is split into two tf32, x = hi + lo with |lo| <= 2^-12 |x|, and q k ~ hi hi + hi lo + lo hi: what
// is left out is below 2^-23 |q k|. Numbers that came as f16 or bf16 are exact in hi.
//
// Layout. Tiles of kRows rows lie in shared memory, row by row, padded to kSize + 8 floats: a fragment reads
// [t][g], and 8 t + g never meets the same bank twice. 16 warps, 4 x 4, each own kSize / 4 x kSize / 4 of C.
//
// Precision. The tensor cores cut off what they add, which is a bias, so they sum no more than eight rows; these sums
// are added, rounded, over a slice of 768 rows at most, and slices in f64. At worst the error is (3 + 768 / 8 / 2 + 2) *
// 2^-23 of sum |q||k|, below (128 / 2 + 2); mostly it is below one. One level of sums, for two would not stay in registers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/products/tensor_core.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {

constexpr int kRows = 32;
constexpr int kThreads = 512;

template <int kSize>
struct Tile {
  float q[kRows][kSize + 8];
  float k[kRows][kSize + 8];
  float queryScale[kRows];
};

// `kExact`: to f32, as above. Otherwise hi hi alone, 2^-11 of a product, which averages out over rows: enough for
// what is compared with noise.
template <int kSize, bool kExact = true>
struct Product {
  static constexpr int kRowBlocks = kSize / 64, kColumnBlocks = kSize / 32;  // of 16 and of 8, a warp
  float sum[kRowBlocks][kColumnBlocks][4];
  float qSum[2], kSum;  // column sums that this lane has a part in

  __device__ Product() {
    qSum[0] = qSum[1] = kSum = 0;
    QKS_UNROLL
    for (auto& row : sum) {
      QKS_UNROLL
      for (auto& block : row) {
        QKS_UNROLL
        for (float& x : block) {
          x = 0;
        }
      }
    }
  }

  __device__ void add(const Tile<kSize>& tile) {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int g = lane / 4, t = lane % 4, warpRow = warp / 4, warpColumn = warp % 4;
    const int firstRow = warpRow * (kSize / 4), firstColumn = warpColumn * (kSize / 4);
    QKS_UNROLL
    for (int k = 0; k < kRows; k += 8) {
      uint32_t aHigh[kRowBlocks][4], aLow[kRowBlocks][4];
      QKS_UNROLL
      for (int m = 0; m < kRowBlocks; m++) {
        float x[4];
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          x[e] = tile.q[k + t + 4 * (e / 2)][firstRow + 16 * m + g + 8 * (e % 2)];
        }
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          split(x[e], aHigh[m][e], aLow[m][e]);
        }
        if (m == warpColumn) {
          qSum[0] += x[0] * tile.queryScale[k + t] + x[2] * tile.queryScale[k + t + 4];
          qSum[1] += x[1] * tile.queryScale[k + t] + x[3] * tile.queryScale[k + t + 4];
        }
      }
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n++) {
        uint32_t bHigh[2], bLow[2];
        float x[2];
        QKS_UNROLL
        for (int e = 0; e < 2; e++) {
          x[e] = tile.k[k + t + 4 * e][firstColumn + 8 * n + g];
        }
        QKS_UNROLL
        for (int e = 0; e < 2; e++) {
          split(x[e], bHigh[e], bLow[e]);
        }
        if (n == warpRow) {
          kSum += x[0] + x[1];
        }
        QKS_UNROLL
        for (int m = 0; m < kRowBlocks; m++) {
          float eight[4] = {0, 0, 0, 0};
          if (kExact) {
            multiplyTf32(eight, aLow[m], bHigh);
            multiplyTf32(eight, aHigh[m], bLow);
          }
          multiplyTf32(eight, aHigh[m], bHigh);
          QKS_UNROLL
          for (int e = 0; e < 4; e++) {
            sum[m][n][e] += eight[e];
          }
        }
      }
    }
  }

  // Calls entry(row, column, sum) for this thread's part of the tile.
  template <typename Entry>
  __device__ void forEach(Entry&& entry) const {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int g = lane / 4, t = lane % 4, firstRow = warp / 4 * (kSize / 4), firstColumn = warp % 4 * (kSize / 4);
    QKS_UNROLL
    for (int m = 0; m < kRowBlocks; m++) {
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n++) {
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          entry(firstRow + 16 * m + g + 8 * (e / 2), firstColumn + 8 * n + 2 * t + e % 2, sum[m][n][e]);
        }
      }
    }
  }

  // To `to`, one side's block of partial sums; entries outside of d are left out.
  __device__ void write(float* to, int32_t d, const TilePlace& place) {
    forEach([&](int inRow, int inColumn, float x) {
      const int row = place.row + inRow, column = place.column + inColumn;
      if (row < d && column < d) {
        to[2 * d + static_cast<int64_t>(row) * d + column] = x;
      }
    });
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int g = lane / 4, t = lane % 4, warpRow = warp / 4, warpColumn = warp % 4;
    const int firstRow = place.row + warpRow * (kSize / 4), firstColumn = place.column + warpColumn * (kSize / 4);
    QKS_UNROLL
    for (int mask = 1; mask <= 2; mask *= 2) {
      QKS_UNROLL
      for (float& x : qSum) {
        x += __shfl_xor_sync(0xffffffffu, x, mask);
      }
      kSum += __shfl_xor_sync(0xffffffffu, kSum, mask);
    }
    if (t != 0) {
      return;
    }
    QKS_UNROLL
    for (int e = 0; e < 2; e++) {
      const int column = firstRow + 16 * warpColumn + g + 8 * e;
      if (place.column == 0 && warpColumn < kRowBlocks && column < d) {
        to[column] = qSum[e];
      }
    }
    const int column = firstColumn + 8 * warpRow + g;
    if (place.row == 0 && warpRow < kColumnBlocks && column < d) {
      to[d + column] = kSum;
    }
  }

 private:
  static __device__ void split(float x, uint32_t& high, uint32_t& low) {
    high = toTf32(x);
    low = toTf32(x - __uint_as_float(high));
  }
};

}  // namespace qkspace
