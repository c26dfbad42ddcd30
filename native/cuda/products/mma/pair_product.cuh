// C += Q^T K of tiles of 16-bit rows in shared memory by mma.sync, with the sums of their columns.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/products/tensor_core.cuh"
#include "cuda/runtime/float16.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {

constexpr int kPairThreads = 256, kPairRows = 64, kStages = 3;
constexpr int kChunkRows = 128;  // that the tensor cores sum

// Byte of piece `piece` (16 bytes) of row `row` in a tile of kSize columns.
template <int kSize>
__host__ __device__ inline int pieceAt(int row, int piece) {
  return row * kSize * 2 + ((piece ^ (row & 7)) * 16);
}

// 8 warps, 2 x 4, each kSize / 2 x kSize / 4 of the tile.
template <int kSize, bool kBf16, bool kSums>
struct PairProduct {
  static constexpr int kRowBlocks = kSize / 32, kColumnBlocks = kSize / 32;  // of 16 and of 8, a warp
  float chunk[kRowBlocks][kColumnBlocks][4], sum[kRowBlocks][kColumnBlocks][4];
  float qSum[2], kSum[2];  // of the row block `warpColumn`, and of two column blocks
  float qChunk[2], kChunk[2];
  int rows;

  __device__ PairProduct() : rows(0) {
    QKS_UNROLL
    for (int m = 0; m < kRowBlocks; m++) {
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n++) {
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          chunk[m][n][e] = sum[m][n][e] = 0;
        }
      }
    }
    QKS_UNROLL
    for (int e = 0; e < 2; e++) {
      qSum[e] = kSum[e] = qChunk[e] = kChunk[e] = 0;
    }
  }

  // Column blocks a warp takes the sums of: those that start at this one, kColumnBlocks / 2 of them.
  static constexpr int kKeyDuties = kColumnBlocks / 2;

  // Calls turn(first row, fragment) for the fragments of queries, before they are multiplied.
  template <typename Turn>
  __device__ void add(const char* q, const char* k, Turn&& turn) {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int warpRow = warp / 4, warpColumn = warp % 4;
    const int inRow = lane % 8, matrix = lane / 8;
    QKS_UNROLL
    for (int step = 0; step < kPairRows; step += 16) {
      uint32_t a[kRowBlocks][4];
      QKS_UNROLL
      for (int m = 0; m < kRowBlocks; m++) {
        const int piece = warpRow * (kSize / 16) + 2 * m + matrix % 2;
        loadTransposed(a[m], q + pieceAt<kSize>(step + inRow + 8 * (matrix / 2), piece));
        turn(step, a[m]);
        if (kSums && m == warpColumn) {
          QKS_UNROLL
          for (int e = 0; e < 4; e++) {
            qChunk[e % 2] += pairSum(a[m][e]);
          }
        }
      }
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n += 2) {
        uint32_t b[4];
        const int piece = warpColumn * (kSize / 32) + n + matrix / 2;
        loadTransposed(b, k + pieceAt<kSize>(step + inRow + 8 * (matrix % 2), piece));
        QKS_UNROLL
        for (int half = 0; half < 2; half++) {
          const uint32_t operand[2] = {b[2 * half], b[2 * half + 1]};
          if (kSums && (n + half) / kKeyDuties == warpRow) {
            QKS_UNROLL
            for (int e = 0; e < 2; e++) {
              kChunk[(n + half) % kKeyDuties] += pairSum(operand[e]);
            }
          }
          QKS_UNROLL
          for (int m = 0; m < kRowBlocks; m++) {
            multiply16<kBf16>(chunk[m][n + half], a[m], operand);
          }
        }
      }
    }
    rows += kPairRows;
    if (rows == kChunkRows) {
      promote();
    }
  }

  // To `to` [d, d]; entries outside of d are left out. Once, when all has been added.
  __device__ void writeProducts(float* to, int32_t d, const TilePlace& place) {
    promote();
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int g = lane / 4, t = lane % 4, warpRow = warp / 4, warpColumn = warp % 4;
    const int firstRow = place.row + warpRow * (kSize / 2), firstColumn = place.column + warpColumn * (kSize / 4);
    QKS_UNROLL
    for (int m = 0; m < kRowBlocks; m++) {
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n++) {
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          const int row = firstRow + 16 * m + g + 8 * (e / 2), column = firstColumn + 8 * n + 2 * t + e % 2;
          if (row < d && column < d) {
            to[static_cast<int64_t>(row) * d + column] = sum[m][n][e];
          }
        }
      }
    }
  }

  // q [d], then k [d]. After writeProducts.
  __device__ void writeSums(float* to, int32_t d, const TilePlace& place) {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int g = lane / 4, t = lane % 4, warpRow = warp / 4, warpColumn = warp % 4;
    const int firstRow = place.row + warpRow * (kSize / 2), firstColumn = place.column + warpColumn * (kSize / 4);
    QKS_UNROLL
    for (int mask = 1; mask <= 2; mask *= 2) {
      QKS_UNROLL
      for (int e = 0; e < 2; e++) {
        qSum[e] += __shfl_xor_sync(0xffffffffu, qSum[e], mask);
        kSum[e] += __shfl_xor_sync(0xffffffffu, kSum[e], mask);
      }
    }
    if (t != 0) {
      return;
    }
    QKS_UNROLL
    for (int e = 0; e < 2; e++) {
      const int row = firstRow + 16 * warpColumn + g + 8 * e;
      if (place.column == 0 && warpColumn < kRowBlocks && row < d) {
        to[row] = qSum[e];
      }
      const int column = firstColumn + 8 * (warpRow * kKeyDuties + e) + g;
      if (place.row == 0 && e < kKeyDuties && column < d) {
        to[d + column] = kSum[e];
      }
    }
  }

 private:
  static __device__ float pairSum(uint32_t pair) {
    const float low = kBf16 ? bf16ToFloat(pair & 0xffffu) : f16ToFloat(pair & 0xffffu);
    const float high = kBf16 ? bf16ToFloat(pair >> 16) : f16ToFloat(pair >> 16);
    return low + high;
  }

  __device__ void promote() {
    QKS_UNROLL
    for (int m = 0; m < kRowBlocks; m++) {
      QKS_UNROLL
      for (int n = 0; n < kColumnBlocks; n++) {
        QKS_UNROLL
        for (int e = 0; e < 4; e++) {
          sum[m][n][e] += chunk[m][n][e];
          chunk[m][n][e] = 0;
        }
      }
    }
    QKS_UNROLL
    for (int e = 0; e < 2; e++) {
      qSum[e] += qChunk[e];
      kSum[e] += kChunk[e];
      qChunk[e] = kChunk[e] = 0;
    }
    rows = 0;
  }
};

}  // namespace qkspace
