// Whether products stay within the range of f32: judged by the largest magnitudes that a block met.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace qkspace {

// Why a launch's sums cannot be taken as they are.
enum : uint32_t { kBeyondF32 = 1, kNotFinite = 2 };

// Magnitudes (as the bits of an f32) outside of which sums of products may leave the range of f32. Infinity and NaN
// are above. Zero is fine.
__host__ __device__ inline bool outsideSafeRange(uint32_t largest) {
  return largest != 0 && (largest > (127u + 40) << 23 || largest < (127u - 40) << 23);
}

// What the producers of tiles keep: the largest magnitudes that they met, as bits.
struct Largest {
  uint32_t q = 0, k = 0;
  __device__ void query(float x) { q = larger(q, __float_as_uint(x) & 0x7fffffffu); }
  __device__ void key(float x) { k = larger(k, __float_as_uint(x) & 0x7fffffffu); }
  static __device__ uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }
};

// Raises kBeyondF32 where the block's magnitudes are not safe. `most` is shared memory, two words.
__device__ inline void judgeRange(const Largest& largest, uint32_t* most, uint32_t* flags) {
  if (threadIdx.x < 2) {
    most[threadIdx.x] = 0;
  }
  __syncthreads();
  atomicMax(&most[0], largest.q);
  atomicMax(&most[1], largest.k);
  __syncthreads();
  if (threadIdx.x == 0 && (outsideSafeRange(most[0]) || outsideSafeRange(most[1]))) {
    atomicOr(flags, uint32_t{kBeyondF32});
  }
}

}  // namespace qkspace
