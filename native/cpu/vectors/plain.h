// Vectors in plain C++, for processors without vectors that we know: 4 floats, 2 doubles.
#pragma once

#include "cpu/vectors/half.h"

namespace qkspace {
namespace {

struct VF {
  float x[4];
};
struct VD {
  double x[2];
};
constexpr int W = 4;
constexpr int MR = 4;
inline VF fload(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline void fstore(float* p, VF a) { memcpy(p, a.x, sizeof a.x); }
inline VF fset(float a) { return {{a, a, a, a}}; }
inline VF fmadd(VF a, VF b, VF c) {
  for (int i = 0; i < 4; i++) {
    c.x[i] += a.x[i] * b.x[i];
  }
  return c;
}
inline VF fadd(VF a, VF b) { return {{a.x[0] + b.x[0], a.x[1] + b.x[1], a.x[2] + b.x[2], a.x[3] + b.x[3]}}; }
inline VF fsub(VF a, VF b) { return {{a.x[0] - b.x[0], a.x[1] - b.x[1], a.x[2] - b.x[2], a.x[3] - b.x[3]}}; }
inline VF fmul(VF a, VF b) { return {{a.x[0] * b.x[0], a.x[1] * b.x[1], a.x[2] * b.x[2], a.x[3] * b.x[3]}}; }
// out[i] = sum of the lanes of the i-th
inline void fsum4(VF a, VF b, VF c, VF d, float* out) {
  const VF all[4] = {a, b, c, d};
  for (int i = 0; i < 4; i++) {
    out[i] = (all[i].x[0] + all[i].x[1]) + (all[i].x[2] + all[i].x[3]);
  }
}
inline VF fmost(VF most, VF a) {
  for (int i = 0; i < 4; i++) {
    const uint32_t x = floatToBits(most.x[i]), y = floatToBits(a.x[i]) & 0x7fffffffu;
    most.x[i] = bitsToFloat(x > y ? x : y);
  }
  return most;
}
inline VD dload(const double* p) { return {{p[0], p[1]}}; }
inline void dstore(double* p, VD a) { memcpy(p, a.x, sizeof a.x); }
inline VD dset(double a) { return {{a, a}}; }
inline VD dmadd(VD a, VD b, VD c) { return {{c.x[0] + a.x[0] * b.x[0], c.x[1] + a.x[1] * b.x[1]}}; }
inline VD dadd(VD a, VD b) { return {{a.x[0] + b.x[0], a.x[1] + b.x[1]}}; }
inline VD dsub(VD a, VD b) { return {{a.x[0] - b.x[0], a.x[1] - b.x[1]}}; }
inline VD dmul(VD a, VD b) { return {{a.x[0] * b.x[0], a.x[1] * b.x[1]}}; }
inline double dsum(VD a) { return a.x[0] + a.x[1]; }
inline VD widenLow(VF a) { return {{a.x[0], a.x[1]}}; }
inline VD widenHigh(VF a) { return {{a.x[2], a.x[3]}}; }
inline VF narrow(VD low, VD high) {
  return {{static_cast<float>(low.x[0]), static_cast<float>(low.x[1]), static_cast<float>(high.x[0]),
           static_cast<float>(high.x[1])}};
}

inline VF loadF16(const uint16_t* p) {
  float x[4] = {f16ToFloat(p[0]), f16ToFloat(p[1]), f16ToFloat(p[2]), f16ToFloat(p[3])};
  return fload(x);
}
inline VF loadBf16(const uint16_t* p) {
  float x[4] = {bf16ToFloat(p[0]), bf16ToFloat(p[1]), bf16ToFloat(p[2]), bf16ToFloat(p[3])};
  return fload(x);
}

}  // namespace
}  // namespace qkspace
