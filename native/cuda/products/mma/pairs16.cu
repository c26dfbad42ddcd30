// Pairs of 16-bit rows with weight 1 on tensor cores of compute capability 8.0 and later: for every slice, head and side
//
//   qk += sum_t q_t k_t^T,  q += sum_t q_t,  k += sum_t k_t
//
// A block of 256 threads makes one kSize x kSize tile of one side. Rows come by asynchronous 16-byte copies, kStages
// tiles of kPairRows rows deep, straight from where they lie; ldmatrix transposes them on the way to the tensor cores,
// since the sum runs over rows. 16-byte pieces of a row are permuted by the row's number (piece ^ row % 8), so that
// neither the copies nor ldmatrix meet a bank twice. Column sums are taken from the fragments; each warp takes those
// that no other takes.
//
// Products of 16-bit numbers are exact in f32. The tensor cores sum 128 rows, cut off rather than rounded; these sums
// are added in f32, and slices of 2,048 in f64: (128 / 16 + 2048 / 128 / 2 + 2) * 2^-23 of sum |q||k| and the alignment
// inside an instruction, below (128 / 2 + 2).
//
// Bytes and operations: hopper/pairs16.cu.
#include "cuda/products/async_copy.cuh"
#include "cuda/products/mma/pairs.h"
#include "cuda/products/mma/tensor_core.cuh"
#include "cuda/rows/float16.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

constexpr int kPairThreads = 256, kPairRows = 64, kStages = 3;
constexpr int kChunkRows = 128;  // that the tensor cores sum

// Byte of piece `piece` (16 bytes) of row `row` in a tile of kSize columns.
template <int kSize>
__host__ __device__ inline int pieceAt(int row, int piece) {
  return row * kSize * 2 + ((piece ^ (row & 7)) * 16);
}

// 8 warps, 2 x 4, each kSize / 2 x kSize / 4 of the tile.
template <int kSize, bool kBf16>
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

  __device__ void add(const char* q, const char* k) {
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
        if (m == warpColumn) {
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
          if ((n + half) / kKeyDuties == warpRow) {
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

  __device__ void write(float* to, int32_t d, const TilePlace& place) {
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
            to[2 * d + static_cast<int64_t>(row) * d + column] = sum[m][n][e];
          }
        }
      }
    }
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

template <int kSize, bool kBf16>
__global__ void __launch_bounds__(kPairThreads, 1)
    pairs16OnTensorCores(CovarianceShape shape, DevicePairs pairs, const Slice* slices, float* partial) {
  QKS_DYNAMIC_SHARED(shared);
  constexpr int kPieces = kSize / 8, kTileBytes = kPairRows * kSize * 2;
  constexpr int kCopies = kPairRows * kPieces / kPairThreads, kRowsApart = kPairThreads / kPieces;
  const int side = static_cast<int>(blockIdx.x % 2);
  const TilePlace place = tilePlace(blockIdx.x / 2, shape.d, kSize, kSize);
  const int32_t head = static_cast<int32_t>(blockIdx.y), keyHead = head / (shape.heads / shape.kvHeads);
  const Slice slice = slices[blockIdx.z];
  const PairSide& rows = pairs.side[side];

  // This thread copies one piece of every kRowsApart-th row; rows of the next tile are looked up a tile ahead.
  const int piece = static_cast<int>(threadIdx.x) % kPieces, firstRow = static_cast<int>(threadIdx.x) / kPieces;
  const uint32_t queryBytes = place.row + 8 * piece < shape.d ? 16 : 0;
  const uint32_t keyBytes = place.column + 8 * piece < shape.d ? 16 : 0;
  const uint16_t* queryData = static_cast<const uint16_t*>(pairs.q.data) + (queryBytes ? place.row + 8 * piece : 0);
  const uint16_t* keyData = static_cast<const uint16_t*>(rows.k.data) + (keyBytes ? place.column + 8 * piece : 0);
  int32_t queryRow[kCopies], keyRow[kCopies];
  auto lookUp = [&](int32_t from) {
    QKS_UNROLL
    for (int i = 0; i < kCopies; i++) {
      const int32_t pair = from + firstRow + i * kRowsApart;
      queryRow[i] = keyRow[i] = -1;
      if (pair < slice.to) {
        queryRow[i] = rows.query[pair];
        keyRow[i] = rows.keyRow(pair);
      }
    }
  };
  auto copy = [&](int stage) {
    char* to = shared + stage * 2 * kTileBytes;
    QKS_UNROLL
    for (int i = 0; i < kCopies; i++) {
      const bool there = queryRow[i] >= 0;
      const int at = pieceAt<kSize>(firstRow + i * kRowsApart, piece);
      copyAsync(to + at, queryData + (there ? rowOffset(pairs.q, queryRow[i], head) : 0), there ? queryBytes : 0);
      copyAsync(to + kTileBytes + at, keyData + (there ? rowOffset(rows.k, keyRow[i], keyHead) : 0),
                there ? keyBytes : 0);
    }
  };

  PairProduct<kSize, kBf16> product;
  const int32_t tiles = (slice.to - slice.from + kPairRows - 1) / kPairRows;
  for (int stage = 0; stage < kStages - 1; stage++) {
    lookUp(slice.from + stage * kPairRows);
    if (stage < tiles) {
      copy(stage);
    }
    commitCopies();
  }
  lookUp(slice.from + (kStages - 1) * kPairRows);
  for (int32_t tile = 0; tile < tiles; tile++) {
    waitForCopies<kStages - 2>();
    __syncthreads();
    // The stage that this fills was read in the round before.
    const int32_t next = tile + kStages - 1;
    if (next < tiles) {
      copy(next % kStages);
    }
    commitCopies();
    if (next + 1 < tiles) {
      lookUp(slice.from + (next + 1) * kPairRows);
    }
    const char* here = shared + tile % kStages * 2 * kTileBytes;
    product.add(here, here + kTileBytes);
  }
  waitForCopies<0>();
  product.write(partial + blockOffset(blockIdx.z, head, shape.heads, side, shape.d), shape.d, place);
}

template <int kSize, bool kBf16>
void launchPairs(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                 int32_t count, float* partial) {
  const dim3 grid(2 * tilesOf(shape.d, kSize, kSize), static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(count));
  launch("summing 16-bit pairs", pairs16OnTensorCores<kSize, kBf16>, grid, dim3(kPairThreads),
         kStages * 2 * kPairRows * kSize * 2, stream, shape, pairs, slices, partial);
}

}  // namespace

void sumPairs16(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                int32_t count, float* partial) {
  const bool small = tileColumns(shape.d) == 64, bf16 = pairs.q.dtype == QKS_BF16;
  const auto run = small ? (bf16 ? launchPairs<64, true> : launchPairs<64, false>)
                         : (bf16 ? launchPairs<128, true> : launchPairs<128, false>);
  run(stream, shape, pairs, slices, count, partial);
}

}  // namespace qkspace
