// What native/cuda/runtime/float16.cuh means.
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

// To the nearest, ties to even. A step of numbers of that exponent is 2^(exponent - 10), of subnormal ones 2^-24.
inline uint16_t f16FromFloatOnHost(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) {
    return 0x7fff;
  }
  const double size = std::fabs(static_cast<double>(x));
  int exponent = 0;
  std::frexp(size, &exponent);
  const int step = std::max(exponent - 1, -14) - 10;
  const double steps = std::nearbyint(std::ldexp(size, -step));
  if (std::ldexp(steps, step) > 65504) {
    return static_cast<uint16_t>(sign | 0x7c00);
  }
  // 2,048 steps are the first number of the next exponent, which is the next pattern of bits.
  const int field = steps < 1024 ? 0 : step + 25;
  return static_cast<uint16_t>(sign | (field * 1024 + static_cast<int>(steps) - (field > 0 ? 1024 : 0)));
}

}  // namespace qkspace
