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
#include "cuda/products/mma/pair_product.cuh"
#include "cuda/products/mma/pairs.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

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

  PairProduct<kSize, kBf16, true> product;
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
    product.add(here, here + kTileBytes, [](int, uint32_t(&)[4]) {});
  }
  waitForCopies<0>();
  float* const out = partial + blockOffset(blockIdx.z, head, shape.heads, side, shape.d);
  product.writeProducts(out + 2 * shape.d, shape.d, place);
  product.writeSums(out, shape.d, place);
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
