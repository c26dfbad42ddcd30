#include "cuda/runtime/copies/narrow.h"

#include <algorithm>
#include <cstring>

namespace qkspace {
namespace {

// Numbers that are looked at before the next look at whether all were exact.
constexpr size_t kTogether = 1024;

// Loops without branches, which compilers turn into vector instructions. Both return whether some number is not exact.

uint32_t inexactAsBf16(const uint32_t* bits, size_t count, uint16_t* to) {
  uint32_t lost = 0;
  for (size_t i = 0; i < count; i++) {
    lost |= bits[i] & 0xffffu;
    to[i] = static_cast<uint16_t>(bits[i] >> 16);
  }
  return lost;
}

// Numbers of at least 2^-14 lose the lower 13 bits of their mantissa; smaller ones are multiples of 2^-24 or not exact.
// Those of 2^16 and above, infinity and NaN travel as they are.
uint32_t inexactAsF16(const uint32_t* bits, size_t count, uint16_t* to) {
  constexpr uint32_t kLeastNormal = 0x38800000u, kBeyond = 0x47800000u;
  uint32_t lost = 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t size = bits[i] & 0x7fffffffu;
    float magnitude;
    std::memcpy(&magnitude, &size, sizeof magnitude);
    const bool small = size < kLeastNormal;
    const float steps = small ? magnitude * 16777216.0f : 0.0f;
    const int32_t whole = static_cast<int32_t>(steps);
    lost |= small ? (static_cast<float>(whole) != steps ? 1u : 0u) : (size & 0x1fffu) | (size >= kBeyond ? 1u : 0u);
    const uint32_t half = small ? static_cast<uint32_t>(whole) : (size >> 13) - (112u << 10);
    to[i] = static_cast<uint16_t>(half | (bits[i] >> 16 & 0x8000u));
  }
  return lost;
}

}  // namespace

bool narrow(Travel travel, const float* from, size_t count, uint16_t* to) {
  const auto inexact = travel == Travel::kBf16 ? inexactAsBf16 : inexactAsF16;
  uint32_t bits[kTogether];
  for (size_t first = 0; first < count; first += kTogether) {
    const size_t here = std::min(kTogether, count - first);
    std::memcpy(bits, from + first, here * sizeof(float));
    if (inexact(bits, here, to + first)) {
      return false;
    }
  }
  return true;
}

Travel travelOf(const float* from, size_t count) {
  uint16_t some[kTogether];
  for (const Travel travel : {Travel::kBf16, Travel::kF16}) {
    bool exact = true;
    for (size_t first = 0; exact && first < count; first += kTogether) {
      exact = narrow(travel, from + first, std::min(kTogether, count - first), some);
    }
    if (exact) {
      return travel;
    }
  }
  return Travel::kAsIs;
}

}  // namespace qkspace
