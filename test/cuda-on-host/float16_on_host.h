// What native/cuda/rows/float16.cuh means.
#pragma once

#include "cuda_runtime.h"

namespace qkspace {

inline float f16OnHost(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) {
    return static_cast<float>(mantissa ? NAN : sign * INFINITY);
  }
  const double value = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
  return static_cast<float>(sign * value);
}

}  // namespace qkspace
