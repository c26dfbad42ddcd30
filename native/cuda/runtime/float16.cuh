// The 16-bit numbers that rows come in, as f32: exact.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(QKS_CUDA_ON_HOST)
#include "float16_on_host.h"
#endif

namespace qkspace {

__device__ __forceinline__ float f16ToFloat(uint32_t bits) {
#if defined(QKS_CUDA_ON_HOST)
  return f16OnHost(static_cast<uint16_t>(bits));
#else
  float x;
  asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(x) : "r"(bits));
  return x;
#endif
}

// To the nearest, ties to even; infinite beyond the range.
__device__ __forceinline__ uint16_t floatToF16(float x) {
#if defined(QKS_CUDA_ON_HOST)
  return f16FromFloatOnHost(x);
#else
  uint16_t bits;
  asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; mov.b16 %0, h; }" : "=h"(bits) : "f"(x));
  return bits;
#endif
}

__device__ __forceinline__ float bf16ToFloat(uint32_t bits) { return __uint_as_float(bits << 16); }

}  // namespace qkspace
