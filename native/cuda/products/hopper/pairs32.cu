// Pairs of f32-accurate rows on Hopper, with weights u_t of the queries: for every slice, head and side
//
//   qk += sum_t q_t k_t^T,  q += sum_t u_t q_t,  k += sum_t k_t
//
// Each f32 number is three bf16, x = a + b + c with 8 bits each, and q k ~ ac + ca + bb + ba + ab + aa: what is left out
// is below 2^-23 |q k|. That is the rate of three TF32 products, and unlike TF32 operands, bf16 operands may have their
// columns together, as rows lie. Queries in bf16 are one part, and three products do.
//
// A block makes 64 x kSize sums of both sides. Two warpgroups gather, every other tile each: they load rows into
// registers, add up columns, split, and store the parts into a ring of stages. Two warpgroups multiply, one a side. The
// tensor cores cut off what they add, so their sums of 64 rows are taken out and added, rounded, over a slice;
// slices are added in f64. A prototype whose sums of 128 rows were taken out was measured on an H100: of 2^15 pairs,
// 0.27 * 2^-23 of sum |q||k| on zero-mean data and 4.8 on positive data, where contract 1 allows 4 and 66. Few pairs are
// worse, since errors have not averaged out: 5.5 of some hundred pairs by the emulator, below 4 as it is now.
//
// Operations at d = 128: 2 d^2 a pair, side and head, six times over in bf16. With 8 query heads a key head, 13.2 Tflop
// for 2^20 pairs of 32 heads: bound by the tensor cores, 15.9 ms at 830 Tflop/s; a prototype with this layout took
// 27.5 ms on an H100.
#include "cuda/products/hopper/gather32.cuh"
#include "cuda/products/hopper/pairs.h"
#include "cuda/products/hopper/wgmma.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

using namespace pairs32;

constexpr int kThreads = kGatherThreads + 2 * kWarpgroup;
constexpr int kConsumerWarps = 8;
constexpr int kPromote = 2;  // tiles that the tensor cores sum

#if defined(QKS_HOPPER)

// A tile: all products of parts that count. The smallest come first, in all of its rows, so that sums are cut off at
// their full magnitude as rarely as can be.
template <typename S, int kSums>
__device__ __forceinline__ void multiplyParts(float (&product)[kSums], uint32_t queries, uint32_t keys) {
  auto multiplyPart = [&](int queryPart, int keyPart) {
    QKS_UNROLL
    for (int step = 0; step < kRows / 16; step++) {
      const uint32_t down = static_cast<uint32_t>(step) * 2048;
      multiplyAsync<true>(
          product, panelOperand(queries + static_cast<uint32_t>(queryPart * S::kQueryPart) + down, S::kPanelBytes),
          panelOperand(keys + static_cast<uint32_t>(keyPart * S::kKeyPart) + down, S::kPanelBytes));
    }
  };
  if constexpr (S::kQueryParts == 3) {
    multiplyPart(2, 0);
    multiplyPart(0, 2);
    multiplyPart(1, 1);
    multiplyPart(1, 0);
  } else {
    multiplyPart(0, 2);
  }
  multiplyPart(0, 1);
  multiplyPart(0, 0);
}

// What the warpgroup of a side does.
template <int kSize, int kQuery, bool kOneQuery>
__device__ inline void multiply(const CovarianceShape& shape, const Slot& slot, int side, const char* stages,
                                const Barrier* full, Barrier* empty, float* partial) {
  using S = Sizes<kSize, kQuery, kOneQuery>;
  float product[kSize / 2], sum[kSize / 2];
  QKS_UNROLL
  for (float& x : sum) {
    x = 0;
  }
  const int32_t tiles = (slot.slice.to - slot.slice.from + kRows - 1) / kRows;
  const uint32_t base = sharedAddress(stages);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  auto release = [&](int32_t tile) {
    if (lane == 0) {
      arrive(&empty[tile % kStages]);
    }
  };
  for (int32_t first = 0; first < tiles; first += kPromote) {
    const int32_t last = (first + kPromote < tiles ? first + kPromote : tiles) - 1;
    QKS_UNROLL
    for (float& x : product) {
      x = 0;
    }
    for (int32_t tile = first; tile <= last; tile++) {
      const int stage = tile % kStages;
      waitFor(&full[stage], static_cast<uint32_t>(tile / kStages) & 1);
      const uint32_t at = base + static_cast<uint32_t>(stage * S::kStageBytes);
      const uint32_t queries = at + static_cast<uint32_t>((kOneQuery ? 0 : side) * S::kQueryBytes);
      const uint32_t keys = at + static_cast<uint32_t>(S::kQueryTiles * S::kQueryBytes + side * S::kKeyBytes);
      if (tile == first) {
        pinSums(product);
      }
      fenceProducts();
      multiplyParts<S>(product, queries, keys);
      commitProducts();
      if (tile > first) {
        waitForProducts<1>();
        release(tile - 1);
      }
    }
    waitForProducts<0>();
    pinSums(product);
    release(last);
    QKS_UNROLL
    for (int i = 0; i < kSize / 2; i++) {
      sum[i] += product[i];
    }
  }

  const int32_t d = shape.d;
  float* const out = partial + side * blockSize(d) + 2 * d;
  const bool even = d % 2 == 0;
  QKS_UNROLL
  for (int j = 0; j < kSize / 8; j++) {
    QKS_UNROLL
    for (int half = 0; half < 2; half++) {
      const int row = slot.place.row + warp * 16 + lane / 4 + 8 * half,
                column = slot.place.column + 8 * j + lane % 4 * 2;
      float* const to = out + static_cast<int64_t>(row) * d + column;
      const float first = sum[4 * j + 2 * half], second = sum[4 * j + 2 * half + 1];
      if (row >= d || column >= d) {
        continue;
      }
      if (even) {
        *reinterpret_cast<float2*>(to) = make_float2(first, second);
        continue;
      }
      to[0] = first;
      if (column + 1 < d) {
        to[1] = second;
      }
    }
  }
}

#endif

template <int kSize, int kQuery, bool kOneQuery>
__global__ void __launch_bounds__(kThreads, 1)
    pairs32OnHopper(CovarianceShape shape, DevicePairs pairs, const Slice* slices, float* partial) {
#if defined(QKS_HOPPER)
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(Barrier[kStages], full);
  QKS_SHARED(Barrier[kStages], empty);
  char* const stages = alignedStages(shared);
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const Slice slice = slices[blockIdx.z];
  const Slot slot{slice, head, head / (shape.heads / shape.kvHeads),
                  tilePlace(blockIdx.x, shape.d, kQueryColumns, kSize)};
  initStages(full, empty, kConsumerWarps);
  float* const out = partial + blockOffset(blockIdx.z, head, shape.heads, 0, shape.d);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup < 2) {
    takeFewerRegisters<112>();
    Gatherer<kSize, kQuery, kOneQuery> gatherer(shape, pairs, slot);
    gatherer.run(stages, full, empty);
    // The stages are free once every tile has been multiplied.
    const int32_t tiles = (slice.to - slice.from + kRows - 1) / kRows;
    for (int32_t tile = tiles > kStages ? tiles - kStages : 0; tile < tiles; tile++) {
      waitFor(&empty[tile % kStages], static_cast<uint32_t>(tile / kStages) & 1);
    }
    gatherer.write(reinterpret_cast<float*>(stages), out);
    return;
  }
  takeMoreRegisters<144>();
  multiply<kSize, kQuery, kOneQuery>(shape, slot, warpgroup - 2, stages, full, empty, out);
#endif
}

template <int kSize, int kQuery, bool kOneQuery>
void launchPairs(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                 int32_t count, float* partial) {
  const dim3 grid(tilesOf(shape.d, kQueryColumns, kSize), static_cast<uint32_t>(shape.heads),
                  static_cast<uint32_t>(count));
  launch("summing pairs", pairs32OnHopper<kSize, kQuery, kOneQuery>, grid, dim3(kThreads),
         Sizes<kSize, kQuery, kOneQuery>::kShared, stream, shape, pairs, slices, partial);
}

template <int kQuery>
void launchFor(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, bool oneQuery,
               const Slice* slices, int32_t count, float* partial) {
  const bool small = tileColumns(shape.d) == 64;
  const auto run = small ? (oneQuery ? launchPairs<64, kQuery, true> : launchPairs<64, kQuery, false>)
                         : (oneQuery ? launchPairs<128, kQuery, true> : launchPairs<128, kQuery, false>);
  run(stream, shape, pairs, slices, count, partial);
}

}  // namespace

void sumPairs32OnHopper(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, bool oneQuery,
                        const Slice* slices, int32_t count, float* partial) {
  const auto run = pairs.q.dtype == QKS_F32    ? launchFor<QKS_F32>
                   : pairs.q.dtype == QKS_BF16 ? launchFor<QKS_BF16>
                                               : launchFor<QKS_F16>;
  run(stream, shape, pairs, oneQuery, slices, count, partial);
}

}  // namespace qkspace
