// Whether products stay within the range of f32: judged by the largest magnitude of each head among the rows that come
// to the device, or are made there.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace qkspace {

// Magnitudes (as the bits of an f32, which are in their order) outside of which sums of products may leave the range
// of f32. Infinity and NaN are above. Zero is fine.
__host__ __device__ inline bool outsideSafeRange(uint32_t largest) {
  return largest != 0 && (largest > (127u + 40) << 23 || largest < (127u - 40) << 23);
}

__host__ __device__ inline bool isFiniteMagnitude(uint32_t largest) { return largest < 0x7f800000u; }

__device__ __forceinline__ uint32_t magnitude(float x) { return __float_as_uint(x) & 0x7fffffffu; }
__device__ __forceinline__ uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Raises *most to the largest of the warp's. By all lanes.
__device__ __forceinline__ void raiseTo(uint32_t largest, uint32_t* most) {
  for (int mask = 16; mask > 0; mask /= 2) {
    largest = larger(largest, __shfl_xor_sync(0xffffffffu, largest, mask));
  }
  if (threadIdx.x % 32 == 0 && largest > *most) {
    atomicMax(most, largest);
  }
}

}  // namespace qkspace
