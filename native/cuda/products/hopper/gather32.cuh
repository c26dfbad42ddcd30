// The gathering warpgroups of pairs32.cu: rows into registers, sums of their columns, parts of bf16 into stages.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/products/hopper/split_bf16.cuh"
#include "cuda/products/hopper/wgmma.cuh"
#include "cuda/products/layout.cuh"
#include "cuda/products/pairs.h"
#include "cuda/runtime/float16.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace pairs32 {

constexpr int kGatherThreads = 2 * kWarpgroup;
constexpr int kQueryColumns = 64;  // of a block
constexpr int kRows = 32, kStages = 3;

// Sizes of a block. kQuery: the queries' type, QKS_F32 and so on, which decides in how many parts they are multiplied.
template <int kSize, int kQuery, bool kOneQuery>
struct Sizes {
  static constexpr int kQueryParts = kQuery == QKS_BF16 ? 1 : 3;
  static constexpr int kQueryTiles = kOneQuery ? 1 : 2;
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kQueryPart = kPanelBytes;  // bytes of a part of a tile
  static constexpr int kKeyPart = kSize / 64 * kPanelBytes;
  static constexpr int kQueryBytes = kQueryParts * kQueryPart, kKeyBytes = 3 * kKeyPart;
  static constexpr int kStageBytes = kQueryTiles * kQueryBytes + 2 * kKeyBytes;
  static constexpr size_t kShared = 1024 + kStages * kStageBytes;
};

#if defined(QKS_HOPPER)

struct Slot {
  const Slice& slice;
  int32_t head, keyHead;
  TilePlace place;
};

// Eight neighbours of a row.
struct Eight {
  float x[8];
};

// Those at and behind `left` are zero. `aligned`: all eight can be loaded at once.
template <int kType>
__device__ __forceinline__ Eight loadEight(const char* at, int left, bool aligned) {
  Eight out;
  QKS_UNROLL
  for (float& x : out.x) {
    x = 0;
  }
  if (left <= 0) {
    return out;
  }
  if constexpr (kType == QKS_F32) {
    const float* from = reinterpret_cast<const float*>(at);
    if (aligned) {
      const float4 u = reinterpret_cast<const float4*>(from)[0], v = reinterpret_cast<const float4*>(from)[1];
      return {{u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w}};
    }
    QKS_UNROLL
    for (int i = 0; i < 8; i++) {
      out.x[i] = i < left ? from[i] : 0.0f;
    }
  } else {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(at);
    uint32_t pairs[4] = {0, 0, 0, 0};
    if (aligned) {
      const uint4 all = *reinterpret_cast<const uint4*>(from);
      pairs[0] = all.x;
      pairs[1] = all.y;
      pairs[2] = all.z;
      pairs[3] = all.w;
    } else {
      QKS_UNROLL
      for (int i = 0; i < 8; i++) {
        pairs[i / 2] |= (i < left ? static_cast<uint32_t>(from[i]) : 0u) << 16 * (i % 2);
      }
    }
    QKS_UNROLL
    for (int i = 0; i < 8; i++) {
      const uint32_t bits = i % 2 ? pairs[i / 2] >> 16 : pairs[i / 2] & 0xffffu;
      out.x[i] = kType == QKS_BF16 ? bf16ToFloat(bits) : f16ToFloat(bits);
    }
  }
  return out;
}

// Its parts, each 16 bytes of a tile of its own, `partBytes` apart.
template <int kParts>
__device__ __forceinline__ void storeParts(char* to, int partBytes, const Eight& eight) {
  SplitPair pairs[4];
  QKS_UNROLL
  for (int i = 0; i < 4; i++) {
    pairs[i] = splitPair(eight.x[2 * i], eight.x[2 * i + 1]);
  }
  storeOperand(reinterpret_cast<uint4*>(to), uint4{pairs[0].high, pairs[1].high, pairs[2].high, pairs[3].high});
  if constexpr (kParts == 3) {
    storeOperand(reinterpret_cast<uint4*>(to + partBytes),
                 uint4{pairs[0].middle, pairs[1].middle, pairs[2].middle, pairs[3].middle});
    storeOperand(reinterpret_cast<uint4*>(to + 2 * partBytes),
                 uint4{pairs[0].low, pairs[1].low, pairs[2].low, pairs[3].low});
  }
}

// Sums of eight columns over the rows that a thread has loaded.
struct ColumnSums {
  float x[8];
  __device__ ColumnSums() {
    QKS_UNROLL
    for (float& sum : x) {
      sum = 0;
    }
  }
  __device__ void add(const Eight& eight, float weight) {
    QKS_UNROLL
    for (int i = 0; i < 8; i++) {
      x[i] += weight * eight.x[i];
    }
  }
};

// Where a thread's columns of a row of a head are.
struct Columns {
  const char* first;  // in row 0
  uint32_t rowBytes;
  int left;  // columns from the first on

  __device__ Columns(const DeviceRows& rows, int32_t head, int32_t column, uint32_t elementBytes)
      : first(static_cast<const char*>(rows.data) + (static_cast<int64_t>(head) * rows.d + column) * elementBytes),
        rowBytes(static_cast<uint32_t>(rows.heads * rows.d) * elementBytes),
        left(rows.d - column) {}
  // Of row -1: zeros.
  template <int kType>
  __device__ Eight load(int32_t row, bool aligned) const {
    return loadEight<kType>(first + (row < 0 ? 0 : row) * static_cast<int64_t>(rowBytes), row < 0 ? 0 : left, aligned);
  }
};

// A thread of the gathering warpgroups: the same eight columns of the queries and of the keys in every tile. A lane
// looks up the rows of one pair of a tile and hands them out by shuffles.
template <int kSize, int kQuery, bool kOneQuery>
struct Gatherer {
  using S = Sizes<kSize, kQuery, kOneQuery>;
  static constexpr int kQueryPieces = kQueryColumns / 8, kKeyPieces = kSize / 8;
  static constexpr int kQueryRowsApart = kWarpgroup / kQueryPieces, kKeyRowsApart = kWarpgroup / kKeyPieces;
  static constexpr int kQueryRows = kRows / kQueryRowsApart, kKeyRows = kRows / kKeyRowsApart;  // of a tile and side

  const DevicePairs& pairs;
  const Slot& slot;
  int queryRow, keyRow, queryPiece, keyPiece;  // first of its rows in a tile
  Columns queries, keys[2];
  bool aligned;
  int32_t query[S::kQueryTiles], key[2];  // of this lane's pair; -1 behind the end of the slice
  float weight[S::kQueryTiles];
  ColumnSums querySums[S::kQueryTiles], keySums[2];

  __device__ Gatherer(const CovarianceShape& shape, const DevicePairs& pairs, const Slot& slot)
      : pairs(pairs),
        slot(slot),
        queryRow(static_cast<int>(threadIdx.x) % kWarpgroup / kQueryPieces),
        keyRow(static_cast<int>(threadIdx.x) % kWarpgroup / kKeyPieces),
        queryPiece(static_cast<int>(threadIdx.x) % kQueryPieces),
        keyPiece(static_cast<int>(threadIdx.x) % kKeyPieces),
        queries(pairs.q, slot.head, slot.place.row + 8 * queryPiece, kQuery == QKS_F32 ? 4 : 2),
        keys{Columns(pairs.side[0].k, slot.keyHead, slot.place.column + 8 * keyPiece, 4),
             Columns(pairs.side[1].k, slot.keyHead, slot.place.column + 8 * keyPiece, 4)},
        aligned(shape.d % 8 == 0) {}

  __device__ void lookUp(int32_t tile) {
    const int32_t pair = slot.slice.from + tile * kRows + static_cast<int32_t>(threadIdx.x) % 32;
    const bool there = pair < slot.slice.to;
    QKS_UNROLL
    for (int s = 0; s < 2; s++) {
      key[s] = there ? pairs.side[s].keyRow(pair) : -1;
      if (s < S::kQueryTiles) {
        query[s] = there ? pairs.side[s].query[pair] : -1;
        weight[s] = there && pairs.side[s].queryScale ? pairs.side[s].queryScale[pair] : 1.0f;
      }
    }
  }

  // A part of a tile, whose loads are under way together: a row of queries, and rows of keys of one side. With one query
  // a pair there are two parts, with two there are four: more numbers at a time do not fit into the registers.
  static constexpr int kParts = 2 * S::kQueryTiles, kPartKeys = kKeyRows / S::kQueryTiles;
  static_assert(kQueryRows == 2, "a row of queries for each part");
  struct Part {
    Eight query, keys[kPartKeys];
    float weight;  // of the query
  };
  __device__ int queryRowOf(int part) const { return queryRow + part % kQueryRows * kQueryRowsApart; }
  __device__ int keyRowOf(int part, int i) const {
    return keyRow + (part % S::kQueryTiles * kPartKeys + i) * kKeyRowsApart;
  }

  template <int kPart>
  __device__ Part fetch() {
    constexpr int kTile = kPart / kQueryRows, kSide = kPart / S::kQueryTiles;
    Part part;
    const int row = queryRowOf(kPart);
    part.query = queries.template load<kQuery>(__shfl_sync(0xffffffffu, query[kTile], row), aligned);
    part.weight = __shfl_sync(0xffffffffu, weight[kTile], row);
    QKS_UNROLL
    for (int i = 0; i < kPartKeys; i++) {
      const int32_t keyHere = __shfl_sync(0xffffffffu, key[kSide], keyRowOf(kPart, i));
      part.keys[i] = keys[kSide].template load<QKS_F32>(keyHere, aligned);
    }
    return part;
  }

  template <int kPart>
  __device__ void put(char* stage, const Part& part) {
    constexpr int kTile = kPart / kQueryRows, kSide = kPart / S::kQueryTiles;
    querySums[kTile].add(part.query, part.weight);
    storeParts<S::kQueryParts>(stage + kTile * S::kQueryBytes + panelPiece(kRows, queryRowOf(kPart), queryPiece),
                               S::kQueryPart, part.query);
    char* const to = stage + S::kQueryTiles * S::kQueryBytes + kSide * S::kKeyBytes;
    QKS_UNROLL
    for (int i = 0; i < kPartKeys; i++) {
      keySums[kSide].add(part.keys[i], 1.0f);
      storeParts<3>(to + panelPiece(kRows, keyRowOf(kPart, i), keyPiece), S::kKeyPart, part.keys[i]);
    }
  }

  __device__ void run(char* stages, Barrier* full, const Barrier* empty) {
    const int32_t tiles = (slot.slice.to - slot.slice.from + kRows - 1) / kRows;
    const int32_t mine = static_cast<int32_t>(threadIdx.x) / kWarpgroup;
    if (mine < tiles) {
      lookUp(mine);
    }
    for (int32_t tile = mine; tile < tiles; tile += 2) {
      const int stage = tile % kStages;
      char* const at = stages + stage * S::kStageBytes;
      Part part = fetch<0>();
      if (tile >= kStages) {
        waitFor(&empty[stage], static_cast<uint32_t>(tile / kStages + 1) & 1);
      }
      put<0>(at, part);
      if constexpr (kParts == 4) {
        part = fetch<1>();
        put<1>(at, part);
        part = fetch<2>();
        put<2>(at, part);
      }
      part = fetch<kParts - 1>();
      if (tile + 2 < tiles) {
        lookUp(tile + 2);
      }
      put<kParts - 1>(at, part);
      fenceProxy();
      arrive(&full[stage]);
    }
  }

  // The column sums of all threads meet in shared memory, where they are added in order. By both warpgroups together.
  __device__ void write(float* room, float* partial) const {
    const int all = static_cast<int>(threadIdx.x);
    auto put = [&](const ColumnSums& sums, int at) {
      QKS_UNROLL
      for (int i = 0; i < 8; i++) {
        room[(at * 8 + i) * kGatherThreads + all] = sums.x[i];
      }
    };
    QKS_UNROLL
    for (int s = 0; s < 2; s++) {
      put(keySums[s], s);
      if (s < S::kQueryTiles) {
        put(querySums[s], 2 + s);
      }
    }
    waitForThreads<1, kGatherThreads>();
    const int32_t d = pairs.q.d;
    // Threads of the same piece are `pieces` apart.
    auto sumOf = [&](int at, int column, int pieces) {
      float sum = 0;
      for (int other = column / 8; other < kGatherThreads; other += pieces) {
        sum += room[(at * 8 + column % 8) * kGatherThreads + other];
      }
      return sum;
    };
    for (int i = all; i < 2 * (kQueryColumns + kSize); i += kGatherThreads) {
      const int side = i / (kQueryColumns + kSize), column = i % (kQueryColumns + kSize);
      float* const out = partial + side * blockSize(d);
      if (column < kQueryColumns) {
        const int32_t to = slot.place.row + column;
        if (slot.place.column == 0 && to < d) {
          out[to] = sumOf(kOneQuery ? 2 : 2 + side, column, kQueryPieces);
        }
        continue;
      }
      const int32_t to = slot.place.column + column - kQueryColumns;
      if (slot.place.row == 0 && to < d) {
        out[d + to] = sumOf(side, column - kQueryColumns, kKeyPieces);
      }
    }
  }
};

#endif

}  // namespace pairs32
}  // namespace qkspace
