// f16 and bf16 to f32, one value, exact (subnormals, infinities and NaNs included).
#pragma once

#include "cpu/vectors/before_target.h"

namespace qkspace {
namespace {

static inline float bitsToFloat(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline uint32_t floatToBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline float bf16ToFloat(uint16_t h) { return bitsToFloat(static_cast<uint32_t>(h) << 16); }
static inline float f16ToFloat(uint16_t h) {
  uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, rest = h & 0x7fffu;
  if (rest >= 0x7c00u) {
    return bitsToFloat(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  }
  // Exponent re-biased by a multiplication, which also normalises subnormals.
  float magnitude = bitsToFloat(rest << 13) * 5.192296858534828e33f;  // 2^112
  return bitsToFloat(sign | floatToBits(magnitude));
}

}  // namespace
}  // namespace qkspace
