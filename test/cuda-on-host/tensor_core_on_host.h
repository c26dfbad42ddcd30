// What native/cuda/products/tensor_core.cuh means, lane by lane, in float arithmetic that cuts off as the hardware
// does.
#pragma once

#include "cuda_runtime.h"
#include "float16_on_host.h"

namespace qkspace {

inline uint32_t tf32OnHost(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    return bits;
  }
  return (bits + 0x1000u) & ~0x1fffu;
}

// To f32, towards zero.
inline float cutOff(double x) {
  const float near = static_cast<float>(x);
  if (std::isfinite(near) && std::fabs(static_cast<double>(near)) > std::fabs(x)) {
    return std::nextafterf(near, 0.0f);
  }
  return near;
}

struct Operands {
  uint32_t a[4], b[2];
};

inline cuda_on_host::Exchange<Operands> operandsOfAll(const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  return cuda_on_host::exchange(Operands{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
}

inline void multiplyTf32OnHost(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const auto all = operandsOfAll(a, b);
  const int g = static_cast<int>(laneOnHost() / 4), t = static_cast<int>(laneOnHost() % 4);
  for (int e = 0; e < 4; e++) {
    const int half = e / 2, column = 2 * t + e % 2;
    double sum = d[e];
    for (int k = 0; k < 8; k++) {
      const float x = __uint_as_float(all.of[4 * g + k % 4].a[half + 2 * (k / 4)] & ~0x1fffu);
      const float y = __uint_as_float(all.of[4 * column + k % 4].b[k / 4] & ~0x1fffu);
      sum += static_cast<double>(x) * y;
    }
    d[e] = cutOff(sum);
  }
}

template <bool kBf16>
void multiply16OnHost(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const auto all = operandsOfAll(a, b);
  const int g = static_cast<int>(laneOnHost() / 4), t = static_cast<int>(laneOnHost() % 4);
  auto number = [](uint32_t pair, int k) {
    const uint32_t bits = k % 2 ? pair >> 16 : pair & 0xffff;
    return kBf16 ? __uint_as_float(bits << 16) : f16OnHost(static_cast<uint16_t>(bits));
  };
  for (int e = 0; e < 4; e++) {
    const int half = e / 2, column = 2 * t + e % 2;
    double sum = d[e];
    for (int k = 0; k < 16; k++) {
      const int lane = k % 8 / 2;
      const float x = number(all.of[4 * g + lane].a[half + 2 * (k / 8)], k);
      const float y = number(all.of[4 * column + lane].b[k / 8], k);
      sum += static_cast<double>(x) * y;
    }
    d[e] = cutOff(sum);
  }
}

inline void multiplyF64OnHost(double (&d)[2], double a, double b) {
  struct Pair {
    double a, b;
  };
  const auto all = cuda_on_host::exchange(Pair{a, b});
  const unsigned g = laneOnHost() / 4, t = laneOnHost() % 4;
  for (unsigned e = 0; e < 2; e++) {
    for (unsigned k = 0; k < 4; k++) {
      d[e] = std::fma(all.of[4 * g + k].a, all.of[4 * (2 * t + e) + k].b, d[e]);
    }
  }
}

inline void loadTransposedOnHost(uint32_t (&m)[4], const void* row) {
  cuda_on_host::requireAligned(row, 16, "a row for ldmatrix");
  const auto rows = cuda_on_host::exchange(row);
  const int g = static_cast<int>(laneOnHost() / 4), t = static_cast<int>(laneOnHost() % 4);
  for (int j = 0; j < 4; j++) {
    const auto at = [&](int r) -> uint32_t { return static_cast<const uint16_t*>(rows.of[8 * j + r])[g]; };
    m[j] = at(2 * t) | at(2 * t + 1) << 16;
  }
}

}  // namespace qkspace
