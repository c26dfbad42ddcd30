// An f32 number as the sum of three bf16, 8 bits of its mantissa each: exact but where the last part would fall below
// the smallest number of bf16.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if !defined(QKS_CUDA_ON_HOST)
#include <cuda_bf16.h>
#endif

namespace qkspace {

// Two numbers of a kind, the first in the lower half, as fragments and operands have them.
struct SplitPair {
  uint32_t high, middle, low;
};

#if defined(QKS_CUDA_ON_HOST)
// To the nearest bf16, ties to even; NaN stays NaN.
inline uint32_t nearestBf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return 0x7fffu;
  }
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
#endif

// What both numbers are rounded to, and what that leaves of them.
__device__ __forceinline__ uint32_t takeBf16(float& x, float& y) {
#if defined(QKS_CUDA_ON_HOST)
  const uint32_t first = nearestBf16(x), second = nearestBf16(y);
  const uint32_t pair = first | second << 16;
#else
  const __nv_bfloat162 rounded = __floats2bfloat162_rn(x, y);
  const uint32_t pair = *reinterpret_cast<const uint32_t*>(&rounded);
#endif
  x -= __uint_as_float(pair << 16);
  y -= __uint_as_float(pair & 0xffff0000u);
  return pair;
}

__device__ __forceinline__ SplitPair splitPair(float x, float y) {
  SplitPair split;
  split.high = takeBf16(x, y);
  split.middle = takeBf16(x, y);
  split.low = takeBf16(x, y);
  return split;
}

}  // namespace qkspace
