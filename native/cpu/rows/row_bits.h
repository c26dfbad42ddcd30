// The largest magnitude in a row, for what is looked at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/prepared_batch.h"
#include "cpu/vectors/half.h"

namespace qkspace {

// Largest magnitude in a row as f32 bits; at least 0x7f800000 when one is not finite.
inline uint32_t rowBits(const RowView& v, int64_t row, int64_t headOffset, int d) {
  int64_t at = (v.linear ? row * v.posStride : row / v.pos * v.batchStride + row % v.pos * v.posStride) + headOffset;
  uint32_t most = 0;
  if (v.dtype == QKS_F32) {
    const float* p = static_cast<const float*>(v.data) + at;
    for (int i = 0; i < d; i++) {
      most = std::max(most, floatToBits(p[i * v.dimStride]) & 0x7fffffffu);
    }
    return most;
  }
  const uint16_t* p = static_cast<const uint16_t*>(v.data) + at;
  for (int i = 0; i < d; i++) {
    most = std::max<uint32_t>(most, p[i * v.dimStride] & 0x7fffu);
  }
  return floatToBits(v.dtype == QKS_F16 ? f16ToFloat(static_cast<uint16_t>(most))
                                        : bf16ToFloat(static_cast<uint16_t>(most)));
}

}  // namespace qkspace
