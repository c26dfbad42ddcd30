// Explicit sets of keys:
//
//   kbar_t [kvHeads, d] = scale_t sum_j a_tj k_j
//
// A warp takes one term and key head, four columns a lane. Bytes: every key row of a set once, 4 d or 2 d, and 4 d
// written; the keys of a prompt are shared by its terms and sides through the L2 cache. Bound by bytes.
#include "cuda/rows/keys/key_rows.h"
#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 65535;
constexpr int kInF32 = 32;    // keys that are summed in f32; sums of these are added in f64
constexpr int kColumns = 4;   // of a lane
constexpr int kTogether = 4;  // keys whose loads are under way at a time

struct Four {
  float x[kColumns];
};

// Columns of a row from `at` on; those at and behind `left` are zero.
__device__ inline Four loadFour(const DeviceRows& rows, int64_t at, int left, bool aligned) {
  Four out{};
  if (aligned && rows.dtype == QKS_F32) {
    const float4 all = *reinterpret_cast<const float4*>(static_cast<const float*>(rows.data) + at);
    return {{all.x, all.y, all.z, all.w}};
  }
  QKS_UNROLL
  for (int i = 0; i < kColumns; i++) {
    out.x[i] = i < left ? loadElement(rows, at + i) : 0.0f;
  }
  return out;
}

__device__ inline void addKeys(const DeviceRows& k, const DeviceTerms& side, int32_t keyHead, int32_t from, int32_t to,
                               int column, bool aligned, Four& sum) {
  const int left = k.d - column;
  for (int32_t first = from; first < to; first += kTogether) {
    Four key[kTogether];
    float weight[kTogether];
    QKS_UNROLL
    for (int i = 0; i < kTogether; i++) {
      const int32_t j = first + i;
      weight[i] = 0;
      key[i] = Four{};
      if (j < to) {
        weight[i] = side.keyWeights ? side.keyWeights[j] : 1.0f;
        key[i] = loadFour(k, rowOffset(k, side.keys[j], keyHead) + column, left, aligned);
      }
    }
    QKS_UNROLL
    for (int i = 0; i < kTogether && first + i < to; i++) {
      QKS_UNROLL
      for (int e = 0; e < kColumns; e++) {
        sum.x[e] += weight[i] * key[i].x[e];
      }
    }
  }
}

__device__ inline Four keySum(const DeviceRows& k, const DeviceTerms& side, int32_t term, int32_t keyHead, int column,
                              bool aligned) {
  const int32_t start = side.keyStart[term], end = start + side.keyCount[term];
  const float scale = side.keyScale[term];
  Four sum{};
  if (end - start <= kInF32) {
    addKeys(k, side, keyHead, start, end, column, aligned, sum);
    QKS_UNROLL
    for (float& x : sum.x) {
      x *= scale;
    }
    return sum;
  }
  double total[kColumns] = {0, 0, 0, 0};
  for (int32_t from = start; from < end; from += kInF32) {
    Four part{};
    addKeys(k, side, keyHead, from, end - from < kInF32 ? end : from + kInF32, column, aligned, part);
    QKS_UNROLL
    for (int e = 0; e < kColumns; e++) {
      total[e] += static_cast<double>(part.x[e]);
    }
  }
  QKS_UNROLL
  for (int e = 0; e < kColumns; e++) {
    sum.x[e] = static_cast<float>(total[e] * static_cast<double>(scale));
  }
  return sum;
}

__global__ void __launch_bounds__(kThreads) keySetsKernel(DeviceRows k, DeviceTerms side, KeyRows to) {
  const int32_t warp = static_cast<int32_t>(blockIdx.x * (kThreads / 32) + threadIdx.x / 32);
  const int32_t warps = static_cast<int32_t>(gridDim.x * (kThreads / 32));
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int32_t keyHead = static_cast<int32_t>(blockIdx.y);
  const bool aligned = k.d % kColumns == 0;
  uint32_t most = 0;
  for (int32_t t = warp; t < to.count; t += warps) {
    float* const out = to.out + (static_cast<int64_t>(t) * k.heads + keyHead) * k.d;
    for (int column = kColumns * lane; column < k.d; column += 32 * kColumns) {
      const Four sum = keySum(k, side, to.first + t, keyHead, column, aligned);
      QKS_UNROLL
      for (int e = 0; e < kColumns; e++) {
        most = larger(most, magnitude(sum.x[e]));
      }
      if (aligned) {
        *reinterpret_cast<float4*>(out + column) = float4{sum.x[0], sum.x[1], sum.x[2], sum.x[3]};
        continue;
      }
      QKS_UNROLL
      for (int e = 0; e < kColumns; e++) {
        if (column + e < k.d) {
          out[column + e] = sum.x[e];
        }
      }
    }
  }
  raiseTo(most, to.largest + keyHead);
}

}  // namespace

void sumKeySets(cudaStream_t stream, const DeviceRows& k, const DeviceTerms& side, const KeyRows& to) {
  const int64_t blocks = (static_cast<int64_t>(to.count) + kThreads / 32 - 1) / (kThreads / 32);
  const dim3 grid(static_cast<uint32_t>(blocks < kMostBlocks ? blocks : kMostBlocks), static_cast<uint32_t>(k.heads));
  launch("summing the keys of sets", keySetsKernel, grid, dim3(kThreads), 0, stream, k, side, to);
}

}  // namespace qkspace
