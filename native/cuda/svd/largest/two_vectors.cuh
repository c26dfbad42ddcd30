// Two vectors at a time against the rows of a matrix, in f32, by a thread block.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/sums.cuh"

namespace qkspace {

constexpr int kLargestThreads = 256;

// out[j] = factor * rows_j . (x, y) for j < count; rows of length ld with zeros behind d, or of length d.
__device__ inline void rowProducts(const float* rows, int ld, int d, int count, const float* x, const float* y,
                                   float factor, float2* out) {
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  for (int from = 0; from < count; from += groups) {
    const int j = from + group;
    float first = 0, second = 0;
    if (j < count) {
      const float* row = rows + static_cast<size_t>(j) * ld;
      if (ld % 4 == 0) {
        typedef Packet<float> P;
        for (int e = lane; e < ld / 4; e += kPairLanes) {
          const P r = load(reinterpret_cast<const P*>(row) + e);
          first = dotOf(r, load(reinterpret_cast<const P*>(x) + e), first);
          second = dotOf(r, load(reinterpret_cast<const P*>(y) + e), second);
        }
      } else {
        for (int e = lane; e < d; e += kPairLanes) {
          first += row[e] * x[e];
          second += row[e] * y[e];
        }
      }
    }
    first = pairSum(first);
    second = pairSum(second);
    if (j < count && lane == 0) {
      out[j] = float2{factor * first, factor * second};
    }
  }
}

// (x, y) = kept * (x, y) + factor * sum over j < count of p_j rows_j. A thread takes kWide elements of a part of the
// rows. Ends with a barrier.
template <int kWide>
__device__ inline void addRowsBy(const float* rows, int ld, int length, int count, const float2* p, float kept,
                                 float factor, float* partial, float* x, float* y) {
  const int pieces = (length + kWide - 1) / kWide, threads = static_cast<int>(blockDim.x);
  const int parts = pieces < threads ? threads / pieces : 1;
  const int part = pieces < threads ? static_cast<int>(threadIdx.x) / pieces : 0;
  const int from = pieces < threads ? static_cast<int>(threadIdx.x) % pieces : static_cast<int>(threadIdx.x);
  for (int piece = from; piece < pieces && part < parts; piece += threads) {
    float first[kWide], second[kWide];
    QKS_UNROLL
    for (int e = 0; e < kWide; e++) {
      first[e] = 0;
      second[e] = 0;
    }
    for (int j = part; j < count; j += parts) {
      const float2 weight = p[j];
      const float* row = rows + static_cast<size_t>(j) * ld + piece * kWide;
      float r[kWide];
      if constexpr (kWide == 4) {
        const Packet<float> packet = load(reinterpret_cast<const Packet<float>*>(row));
        QKS_UNROLL
        for (int e = 0; e < kWide; e++) {
          r[e] = packet.x[e];
        }
      } else {
        r[0] = *row;
      }
      QKS_UNROLL
      for (int e = 0; e < kWide; e++) {
        first[e] += weight.x * r[e];
        second[e] += weight.y * r[e];
      }
    }
    float *toFirst = partial + static_cast<size_t>(2 * part) * pieces * kWide + piece * kWide,
          *toSecond = toFirst + static_cast<size_t>(pieces) * kWide;
    QKS_UNROLL
    for (int e = 0; e < kWide; e++) {
      toFirst[e] = first[e];
      toSecond[e] = second[e];
    }
  }
  __syncthreads();
  for (int e = threadIdx.x; e < 2 * length; e += threads) {
    const int which = e / length, at = e % length;
    float sum = 0;
    for (int k = 0; k < parts; k++) {
      sum += partial[static_cast<size_t>(2 * k + which) * pieces * kWide + at];
    }
    float* to = (which ? y : x) + at;
    *to = (kept == 0 ? 0.0f : *to) + factor * sum;
  }
  __syncthreads();
}

__device__ inline void addRows(const float* rows, int ld, int d, int count, const float2* p, float kept, float factor,
                               float* partial, float* x, float* y) {
  if (ld % 4 == 0) {
    addRowsBy<4>(rows, ld, ld, count, p, kept, factor, partial, x, y);
  } else {
    addRowsBy<1>(rows, ld, d, count, p, kept, factor, partial, x, y);
  }
}

// (x, y) = (q, q') R, R upper triangular, with q and q' in the place of x and y.
struct Triangle {
  float xx, xy, yy;
};

// A vector of length `least` or less is rounding, and becomes zero. Ends with a barrier.
__device__ inline Triangle orthonormalise(float* x, float* y, int ld, float least) {
  QKS_SHARED(double[3][kLargestThreads / 32], parts);
  double xx = 0, xy = 0, yy = 0;
  for (int e = threadIdx.x; e < ld; e += blockDim.x) {
    const double a = x[e], b = y[e];
    xx += a * a;
    xy += a * b;
    yy += b * b;
  }
  xx = warpSum(xx);
  xy = warpSum(xy);
  yy = warpSum(yy);
  if (threadIdx.x % 32 == 0) {
    parts[0][threadIdx.x / 32] = xx;
    parts[1][threadIdx.x / 32] = xy;
    parts[2][threadIdx.x / 32] = yy;
  }
  __syncthreads();
  xx = xy = yy = 0;
  for (int w = 0; w < kLargestThreads / 32; w++) {
    xx += parts[0][w];
    xy += parts[1][w];
    yy += parts[2][w];
  }
  Triangle r{static_cast<float>(sqrt(xx)), 0, 0};
  float inverse = 0, other = 0;
  if (r.xx > least) {
    inverse = 1 / r.xx;
    r.xy = static_cast<float>(xy / sqrt(xx));
    yy -= xy * xy / xx;
  } else {
    r.xx = 0;
  }
  // What is left of two vectors that are parallel but for a millionth is rounding too.
  r.yy = yy > 0 ? static_cast<float>(sqrt(yy)) : 0.0f;
  if (r.yy > least && r.yy > 1e-6f * fabsf(r.xy)) {
    other = 1 / r.yy;
  } else {
    r.yy = 0;
  }
  for (int e = threadIdx.x; e < ld; e += blockDim.x) {
    const float unit = x[e] * inverse;
    y[e] = (y[e] - r.xy * unit) * other;
    x[e] = unit;
  }
  __syncthreads();
  return r;
}

}  // namespace qkspace
