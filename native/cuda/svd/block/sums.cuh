// Sums and maxima over the threads of a block, of a warp, or of a few lanes. Their order is fixed.
#pragma once

#include <cuda_runtime.h>

#include "cuda/runtime/shared_memory.cuh"

namespace qkspace {

constexpr int kPairLanes = 8;  // lanes that share a pair of vectors

// Sum over the lanes of a pair. The order is fixed, and all lanes get the same bits.
template <typename T>
__device__ inline T pairSum(T value) {
  for (int step = 1; step < kPairLanes; step *= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, step);
  }
  return value;
}

template <typename T>
__device__ inline T warpSum(T value) {
  for (int step = 16; step > 0; step /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, step);
  }
  return value;
}

// Of all threads, to all threads. Block sizes are multiples of 32.
__device__ inline double blockSum(double value) {
  QKS_SHARED(double[32], parts);
  value = warpSum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    parts[threadIdx.x / 32] = value;
  }
  __syncthreads();
  double sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; w++) {
    sum += parts[w];
  }
  return sum;
}

__device__ inline double blockMost(double value) {
  QKS_SHARED(double[32], parts);
  for (int step = 16; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, value, step);
    value = other > value ? other : value;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    parts[threadIdx.x / 32] = value;
  }
  __syncthreads();
  double most = parts[0];
  for (unsigned w = 1; w < blockDim.x / 32; w++) {
    most = parts[w] > most ? parts[w] : most;
  }
  return most;
}

}  // namespace qkspace
