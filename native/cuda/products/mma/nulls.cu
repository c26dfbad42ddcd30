// Sign flips on tensor cores of compute capability 8.0 and later: for every head and draw b
//
//   D_b [d, d] = sum_r s_br q_r k_r^T,   rows in f16 (null_products.h)
//
// A block of 256 threads makes a kSize x kSize tile of one draw, as pairs16.cu does of pairs: rows by asynchronous
// 16-byte copies, ldmatrix on the way to the tensor cores. A sign is one XOR for two numbers of a fragment of queries.
// Rows are read again by every draw; they are small and stay in the L2 cache: 512 bytes a row for 32768 operations.
#include "cuda/products/mma/nulls.h"

#include "cuda/products/async_copy.cuh"
#include "cuda/products/mma/pair_product.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

template <int kSize>
__global__ void __launch_bounds__(kPairThreads, 1)
    nullsOnTensorCores(HalfRows rows, const uint32_t* signs, int32_t words, float* matrices) {
  QKS_DYNAMIC_SHARED(shared);
  constexpr int kPieces = kSize / 8, kTileBytes = kPairRows * kSize * 2;
  constexpr int kCopies = kPairRows * kPieces / kPairThreads, kRowsApart = kPairThreads / kPieces;
  const TilePlace place = tilePlace(blockIdx.z, rows.d, kSize, kSize);
  const int32_t head = static_cast<int32_t>(blockIdx.y), draw = static_cast<int32_t>(blockIdx.x);
  const uint32_t* const sign = signs + static_cast<int64_t>(draw) * words;
  const int piece = static_cast<int>(threadIdx.x) % kPieces, firstRow = static_cast<int>(threadIdx.x) / kPieces;
  const int64_t first = static_cast<int64_t>(head) * rows.rows * rows.width;
  const bool queryThere = place.row + 8 * piece < rows.width, keyThere = place.column + 8 * piece < rows.width;
  const uint16_t* const queries = rows.q + first + (queryThere ? place.row + 8 * piece : 0);
  const uint16_t* const keys = rows.k + first + (keyThere ? place.column + 8 * piece : 0);
  auto copy = [&](int32_t tile) {
    char* const to = shared + tile % kStages * 2 * kTileBytes;
    QKS_UNROLL
    for (int i = 0; i < kCopies; i++) {
      const int inTile = firstRow + i * kRowsApart, at = pieceAt<kSize>(inTile, piece);
      const int32_t row = tile * kPairRows + inTile;
      const int64_t from = row < rows.rows ? static_cast<int64_t>(row) * rows.width : 0;
      copyAsync(to + at, queries + from, row < rows.rows && queryThere ? 16 : 0);
      copyAsync(to + kTileBytes + at, keys + from, row < rows.rows && keyThere ? 16 : 0);
    }
  };

  PairProduct<kSize, false, false> product;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const int32_t tiles = (rows.rows + kPairRows - 1) / kPairRows;
  for (int32_t tile = 0; tile < kStages - 1; tile++) {
    if (tile < tiles) {
      copy(tile);
    }
    commitCopies();
  }
  for (int32_t tile = 0; tile < tiles; tile++) {
    waitForCopies<kStages - 2>();
    __syncthreads();
    // The stage that this fills was read in the round before.
    if (tile + kStages - 1 < tiles) {
      copy(tile + kStages - 1);
    }
    commitCopies();
    const uint32_t bits[2] = {sign[2 * tile], sign[2 * tile + 1]};
    const char* here = shared + tile % kStages * 2 * kTileBytes;
    product.add(here, here + kTileBytes, [&](int step, uint32_t(&fragment)[4]) {
      const uint32_t low = bits[step / 32] >> (step % 32 + 2 * t), high = low >> 8;
      const uint32_t lowMask = (low & 1) << 15 | (low & 2) << 30, highMask = (high & 1) << 15 | (high & 2) << 30;
      fragment[0] ^= lowMask;
      fragment[1] ^= lowMask;
      fragment[2] ^= highMask;
      fragment[3] ^= highMask;
    });
  }
  waitForCopies<0>();
  const int64_t d = rows.d;
  product.writeProducts(matrices + (static_cast<int64_t>(head) * gridDim.x + draw) * d * d, rows.d, place);
}

template <int kSize>
void launchNulls(cudaStream_t stream, const HalfRows& rows, int32_t heads, const uint32_t* signs, int32_t draws,
                 float* matrices) {
  const dim3 grid(static_cast<uint32_t>(draws), static_cast<uint32_t>(heads), tilesOf(rows.d, kSize, kSize));
  launch("summing sign flips", nullsOnTensorCores<kSize>, grid, dim3(kPairThreads), kStages * 2 * kPairRows * kSize * 2,
         stream, rows, signs, signWords(rows.rows), matrices);
}

}  // namespace

void sumNullsOnTensorCores(cudaStream_t stream, const HalfRows& rows, int32_t heads, const uint32_t* signs,
                           int32_t draws, float* matrices) {
  const auto run = tileColumns(rows.d) == 64 ? launchNulls<64> : launchNulls<128>;
  run(stream, rows, heads, signs, draws, matrices);
}

}  // namespace qkspace
