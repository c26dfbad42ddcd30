// The largest eigenvalue of the band that lanczos.cu makes.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/largest/two_vectors.cuh"

namespace qkspace {

constexpr int kMostLanczosSteps = 32;

// The band of T: its diagonal, and what is one and two beside it.
struct Band {
  float a[2 * kMostLanczosSteps], b[2 * kMostLanczosSteps], c[2 * kMostLanczosSteps];
};

// Pivots of T - x that are positive: is an eigenvalue above x? T of size `size`.
__device__ inline bool eigenvalueAbove(const Band& t, int size, float x) {
  // Of the two pivots before: their inverses, and the entry below the last one.
  float inverse = 0, inverseBefore = 0, below = 0;
  bool above = false;
  for (int i = 0; i < size; i++) {
    const float two = i > 1 ? t.c[i - 2] : 0.0f;
    const float now = (i > 0 ? t.b[i - 1] : 0.0f) - two * below * inverseBefore;
    float pivot = t.a[i] - x - now * now * inverse - two * two * inverseBefore;
    if (pivot == 0) {
      pivot = -1e-7f * x;
    }
    above |= pivot > 0;
    inverseBefore = inverse;
    inverse = 1 / pivot;
    below = now;
  }
  return above;
}

// Largest eigenvalue of T, not below `known`: every thread tries a point of the interval, three times, each 257 times
// narrower.
__device__ inline float largestEigenvalue(const Band& t, int size, float known) {
  QKS_SHARED(int[kLargestThreads / 32], counts);
  float low = known, high = 0;
  for (int i = 0; i < size; i++) {
    const float beside = fabsf(t.b[i]) + fabsf(t.c[i]),
                before = (i > 0 ? fabsf(t.b[i - 1]) : 0.0f) + (i > 1 ? fabsf(t.c[i - 2]) : 0.0f);
    const float most = t.a[i] + before + (i + 1 < size ? beside : 0.0f);
    low = t.a[i] > low ? t.a[i] : low;
    high = most > high ? most : high;
  }
  high = high > low ? high : low;
  for (int round = 0; round < 3 && high > low; round++) {
    const float step = (high - low) / (kLargestThreads + 1), x = low + step * static_cast<float>(threadIdx.x + 1);
    const unsigned lanes = __ballot_sync(0xffffffffu, eigenvalueAbove(t, size, x));
    if (threadIdx.x % 32 == 0) {
      counts[threadIdx.x / 32] = __popc(lanes);
    }
    __syncthreads();
    int all = 0;
    for (int w = 0; w < kLargestThreads / 32; w++) {
      all += counts[w];
    }
    __syncthreads();
    low += step * static_cast<float>(all);
    high = low + step;
  }
  return low + 0.5f * (high - low);
}

}  // namespace qkspace
