// Pairs of 16-bit rows with weight 1 on Hopper: for every slice, head and side
//
//   qk += sum_t q_t k_t^T,  q += sum_t q_t,  k += sum_t k_t
//
// A block makes a kSize x kSize tile of both sides. One warpgroup only gathers: asynchronous copies of 16 bytes into a
// ring of stages, each a tile of kRows queries (one for both sides where they have the same) and of both sides' keys;
// a lane looks up the rows of one pair a tile ahead and hands them out by shuffles. Two warpgroups multiply, one a
// side, 64 x kSize sums at a time. Column sums are products with ones: no number is converted.
//
// Products of 16-bit numbers are exact in f32. The tensor cores sum a slice, cut off rather than rounded: measured on an
// H100, 0.69 * 2^-23 of sum |q||k| on zero-mean data and 15.5 on positive data, where contract 1 allows 4 and 66.
//
// Bytes at d = 128: 512 a pair, side and head, of which both sides share the query's 256 and the heads of a group the
// key's, through the L2 cache. Operations: 2 d^2 = 32768. With 8 query heads a key head, 12.9 GB and 2.2 Tflop for 2^20
// pairs of 32 heads: bound by bytes at 3 TB/s, which is 4.33 ms; a prototype with this layout took 6.7 ms on an H100.
#include "cuda/products/async_copy.cuh"
#include "cuda/products/hopper/pairs.h"
#include "cuda/products/hopper/wgmma.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 3 * kWarpgroup;  // one warpgroup that gathers, one a side that multiplies
constexpr int kConsumerWarps = 8;
// A pair of ones in bf16, and in f16.
constexpr uint32_t kOnesBf16 = 0x3f803f80u, kOnesF16 = 0x3c003c00u;

// Sizes of a block. Stages are as deep as fits; copies of `kFlying` tiles are under way at a time.
template <int kSize, bool kOneQuery>
struct Sizes {
  static constexpr int kRows = kOneQuery ? 64 : 32;
  static constexpr int kStages = kSize == 64 ? 4 : kOneQuery ? 4 : 6;
  static constexpr int kFlying = kStages - 2;
  static constexpr int kPanels = kSize / 64, kPanelBytes = kRows * 128, kTileBytes = kPanels * kPanelBytes;
  static constexpr int kQueryTiles = kOneQuery ? 1 : 2;
  static constexpr int kStageBytes = (kQueryTiles + 2) * kTileBytes;
  static constexpr int kOnesBytes = 1024;
  static constexpr size_t kShared = 1024 + kStages * kStageBytes + kOnesBytes;
  // Blocks of 64 x 64 need few registers: two share a multiprocessor.
  static constexpr int kBlocks = kSize == 64 ? 2 : 1;
};

#if defined(QKS_HOPPER)

struct Slot {
  const Slice& slice;
  int32_t head, keyHead;
  TilePlace place;
};

// What the gathering warpgroup does.
template <int kSize, bool kOneQuery>
__device__ inline void gather(const CovarianceShape& shape, const DevicePairs& pairs, const Slot& slot, char* stages,
                              Barrier* full, const Barrier* empty) {
  using S = Sizes<kSize, kOneQuery>;
  constexpr int kPieces = kSize / 8, kRowsAtOnce = 32 / kPieces, kRowsAWarp = S::kRows / 4;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int piece = lane % kPieces, among = lane / kPieces;
  const int32_t from = slot.slice.from, to = slot.slice.to;
  const int32_t tiles = (to - from + S::kRows - 1) / S::kRows;
  const bool queryThere = slot.place.row + 8 * piece < shape.d, keyThere = slot.place.column + 8 * piece < shape.d;
  const uint16_t* queryData =
      static_cast<const uint16_t*>(pairs.q.data) + (queryThere ? slot.place.row + 8 * piece : 0);
  const uint16_t* keyData[2];
  QKS_UNROLL
  for (int s = 0; s < 2; s++) {
    keyData[s] = static_cast<const uint16_t*>(pairs.side[s].k.data) + (keyThere ? slot.place.column + 8 * piece : 0);
  }
  // Rows of one pair of the tile, -1 behind the end of the slice.
  int32_t query[S::kQueryTiles], key[2];
  auto lookUp = [&](int32_t tile) {
    const int32_t pair = from + tile * S::kRows + warp * kRowsAWarp + lane % kRowsAWarp;
    QKS_UNROLL
    for (int s = 0; s < 2; s++) {
      key[s] = pair < to ? pairs.side[s].keyRow(pair) : -1;
      if (s < S::kQueryTiles) {
        query[s] = pair < to ? pairs.side[s].query[pair] : -1;
      }
    }
  };
  auto copy = [&](char* tile, int row, const uint16_t* data, const DeviceRows& rows, int32_t head, int32_t wanted,
                  bool there) {
    const bool some = there && wanted >= 0;
    copyAsync(tile + panelPiece(S::kRows, row, piece), data + (some ? rowOffset(rows, wanted, head) : 0),
              some ? 16 : 0);
  };
  lookUp(0);
  for (int32_t tile = 0; tile < tiles; tile++) {
    const int stage = tile % S::kStages;
    int32_t queryNow[S::kQueryTiles], keyNow[2];
    QKS_UNROLL
    for (int s = 0; s < 2; s++) {
      keyNow[s] = key[s];
      if (s < S::kQueryTiles) {
        queryNow[s] = query[s];
      }
    }
    if (tile + 1 < tiles) {
      lookUp(tile + 1);
    }
    if (tile >= S::kStages) {
      waitFor(&empty[stage], static_cast<uint32_t>(tile / S::kStages + 1) & 1);
    }
    char* const at = stages + stage * S::kStageBytes;
    QKS_UNROLL
    for (int i = 0; i < kRowsAWarp / kRowsAtOnce; i++) {
      const int source = kRowsAtOnce * i + among, row = warp * kRowsAWarp + source;
      QKS_UNROLL
      for (int s = 0; s < 2; s++) {
        if (s < S::kQueryTiles) {
          const int32_t wanted = __shfl_sync(0xffffffffu, queryNow[s], source);
          copy(at + s * S::kTileBytes, row, queryData, pairs.q, slot.head, wanted, queryThere);
        }
        const int32_t wanted = __shfl_sync(0xffffffffu, keyNow[s], source);
        copy(at + (S::kQueryTiles + s) * S::kTileBytes, row, keyData[s], pairs.side[s].k, slot.keyHead, wanted,
             keyThere);
      }
    }
    commitCopies();
    if (tile >= S::kFlying) {
      waitForCopies<S::kFlying>();
      fenceProxy();
      arrive(&full[(tile - S::kFlying) % S::kStages]);
    }
  }
  waitForCopies<0>();
  fenceProxy();
  for (int32_t tile = tiles > S::kFlying ? tiles - S::kFlying : 0; tile < tiles; tile++) {
    arrive(&full[tile % S::kStages]);
  }
}

// What the warpgroup of a side does.
template <int kSize, bool kBf16, bool kOneQuery>
__device__ inline void multiply(const CovarianceShape& shape, const Slot& slot, int side, const char* stages,
                                const char* ones, const Barrier* full, Barrier* empty, float* partial) {
  using S = Sizes<kSize, kOneQuery>;
  // With one query tile for two panels and two sides, each side sums one panel; otherwise each sums its own.
  constexpr bool kShareQuerySums = kOneQuery && S::kPanels == 2;
  constexpr int kQueryPanels = kShareQuerySums ? 1 : S::kPanels;
  float product[S::kPanels][kSize / 2], querySum[kQueryPanels][4], keySum[S::kPanels][4];
  QKS_UNROLL
  for (int m = 0; m < S::kPanels; m++) {
    QKS_UNROLL
    for (float& x : product[m]) {
      x = 0;
    }
    QKS_UNROLL
    for (int e = 0; e < 4; e++) {
      keySum[m][e] = 0;
      if (m < kQueryPanels) {
        querySum[m][e] = 0;
      }
    }
  }
  const int32_t tiles = (slot.slice.to - slot.slice.from + S::kRows - 1) / S::kRows;
  const uint64_t one = narrowOperand(sharedAddress(ones));
  const uint32_t base = sharedAddress(stages);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  for (int32_t tile = 0; tile < tiles; tile++) {
    const int stage = tile % S::kStages;
    waitFor(&full[stage], static_cast<uint32_t>(tile / S::kStages) & 1);
    const uint32_t queries =
        base + static_cast<uint32_t>(stage * S::kStageBytes + (kOneQuery ? 0 : side) * S::kTileBytes);
    const uint32_t keys =
        base + static_cast<uint32_t>(stage * S::kStageBytes + (S::kQueryTiles + side) * S::kTileBytes);
    fenceProducts();
    QKS_UNROLL
    for (int step = 0; step < S::kRows / 16; step++) {
      const uint32_t down = static_cast<uint32_t>(step) * 2048;
      const uint64_t keyOperand = panelOperand(keys + down, S::kPanelBytes);
      QKS_UNROLL
      for (int m = 0; m < S::kPanels; m++) {
        const uint32_t panel = static_cast<uint32_t>(m * S::kPanelBytes);
        multiplyAsync<kBf16>(product[m], panelOperand(queries + panel + down, S::kPanelBytes), keyOperand);
        multiplyAsync<kBf16>(keySum[m], panelOperand(keys + panel + down, S::kPanelBytes), one);
        if (m < kQueryPanels) {
          const uint32_t summed = kShareQuerySums ? static_cast<uint32_t>(side * S::kPanelBytes) : panel;
          multiplyAsync<kBf16>(querySum[m], panelOperand(queries + summed + down, S::kPanelBytes), one);
        }
      }
    }
    commitProducts();
    if (tile > 0) {
      waitForProducts<1>();
      if (lane == 0) {
        arrive(&empty[(tile - 1) % S::kStages]);
      }
    }
  }
  waitForProducts<0>();

  const int32_t d = shape.d;
  const int g = lane / 4, t = lane % 4;
  float* const out = partial + side * blockSize(d);
  QKS_UNROLL
  for (int m = 0; m < S::kPanels; m++) {
    QKS_UNROLL
    for (int half = 0; half < 2; half++) {
      const int inPanel = m * 64 + warp * 16 + g + 8 * half, row = slot.place.row + inPanel;
      QKS_UNROLL
      for (int j = 0; j < kSize / 8; j++) {
        // Two neighbours; d is a multiple of 8, so that both are there or neither, and they are aligned.
        const int column = slot.place.column + 8 * j + 2 * t;
        if (row < d && column < d) {
          *reinterpret_cast<float2*>(out + 2 * d + static_cast<int64_t>(row) * d + column) =
              make_float2(product[m][4 * j + 2 * half], product[m][4 * j + 2 * half + 1]);
        }
      }
      if (t != 0) {
        continue;
      }
      const int keyColumn = slot.place.column + inPanel;
      if (slot.place.row == 0 && keyColumn < d) {
        out[d + keyColumn] = keySum[m][2 * half];
      }
      if (m >= kQueryPanels || slot.place.column != 0) {
        continue;
      }
      if (!kShareQuerySums) {
        if (row < d) {
          out[row] = querySum[m][2 * half];
        }
        continue;
      }
      const int summedRow = slot.place.row + side * 64 + warp * 16 + g + 8 * half;
      if (summedRow < d) {
        partial[summedRow] = partial[blockSize(d) + summedRow] = querySum[m][2 * half];
      }
    }
  }
}

#endif

template <int kSize, bool kBf16, bool kOneQuery>
__global__ void __launch_bounds__(kThreads, Sizes<kSize, kOneQuery>::kBlocks)
    pairs16OnHopper(CovarianceShape shape, DevicePairs pairs, const Slice* slices, float* partial) {
#if defined(QKS_HOPPER)
  using S = Sizes<kSize, kOneQuery>;
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(Barrier[S::kStages], full);
  QKS_SHARED(Barrier[S::kStages], empty);
  char* const stages = alignedStages(shared);
  char* const ones = stages + S::kStages * S::kStageBytes;
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const Slice slice = slices[blockIdx.z];
  const Slot slot{slice, head, head / (shape.heads / shape.kvHeads), tilePlace(blockIdx.x, shape.d, kSize, kSize)};
  if (threadIdx.x < S::kOnesBytes / 4) {
    constexpr uint32_t kPair = kBf16 ? kOnesBf16 : kOnesF16;
    storeOperand(reinterpret_cast<uint32_t*>(ones) + threadIdx.x, kPair);
  }
  fenceProxy();
  initStages(full, empty, kConsumerWarps);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == 0) {
    if constexpr (kSize == 128) {
      takeFewerRegisters<56>();
    }
    gather<kSize, kOneQuery>(shape, pairs, slot, stages, full, empty);
    return;
  }
  if constexpr (kSize == 128) {
    takeMoreRegisters<224>();
  }
  multiply<kSize, kBf16, kOneQuery>(shape, slot, warpgroup - 1, stages, ones, full, empty,
                                    partial + blockOffset(blockIdx.z, head, shape.heads, 0, shape.d));
#endif
}

template <int kSize, bool kBf16, bool kOneQuery>
void launchPairs(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                 int32_t count, float* partial) {
  const dim3 grid(tilesOf(shape.d, kSize, kSize), static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(count));
  launch("summing 16-bit pairs", pairs16OnHopper<kSize, kBf16, kOneQuery>, grid, dim3(kThreads),
         Sizes<kSize, kOneQuery>::kShared, stream, shape, pairs, slices, partial);
}

}  // namespace

void sumPairs16OnHopper(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, bool oneQuery,
                        const Slice* slices, int32_t count, float* partial) {
  const bool small = tileColumns(shape.d) == 64, bf16 = pairs.q.dtype == QKS_BF16;
  const auto pick = [&](auto bf, auto one) {
    return small ? launchPairs<64, decltype(bf)::value, decltype(one)::value>
                 : launchPairs<128, decltype(bf)::value, decltype(one)::value>;
  };
  const auto run =
      bf16 ? (oneQuery ? pick(std::true_type{}, std::true_type{}) : pick(std::true_type{}, std::false_type{}))
           : (oneQuery ? pick(std::false_type{}, std::true_type{}) : pick(std::false_type{}, std::false_type{}));
  run(stream, shape, pairs, slices, count, partial);
}

}  // namespace qkspace
