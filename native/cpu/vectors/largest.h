// The largest magnitude that fmost has gathered.
#pragma once

#include "cpu/vectors/current.h"
#include "cpu/vectors/half.h"

namespace qkspace {
namespace {

// The largest of the lanes, as bits: ordered like the values, NaN last.
static inline uint32_t largestBits(VF most) {
  float lanes[W];
  fstore(lanes, most);
  uint32_t largest = 0;
  for (int i = 0; i < W; i++) {
    const uint32_t bits = floatToBits(lanes[i]);
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

}  // namespace
}  // namespace qkspace
