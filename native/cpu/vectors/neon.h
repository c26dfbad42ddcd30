// Vectors of NEON, which every 64-bit ARM has. A vector is a pair of registers: six rows of two vectors are 24 sums,
// which with the right operand fill 28 of the 32 registers and hide the latency of the additions.
#pragma once

#include "cpu/vectors/half.h"

namespace qkspace {
namespace {

struct VF {
  float32x4_t low, high;
};
struct VD {
  float64x2_t low, high;
};
constexpr int W = 8;
constexpr int MR = 6;
inline VF fload(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void fstore(float* p, VF a) {
  vst1q_f32(p, a.low);
  vst1q_f32(p + 4, a.high);
}
inline VF fset(float a) { return {vdupq_n_f32(a), vdupq_n_f32(a)}; }
inline VF fmadd(VF a, VF b, VF c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
inline VF fadd(VF a, VF b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline VF fsub(VF a, VF b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline VF fmul(VF a, VF b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
// out[i] = sum of the lanes of the i-th
inline void fsum4(VF a, VF b, VF c, VF d, float* out) {
  const float32x4_t ab = vpaddq_f32(vaddq_f32(a.low, a.high), vaddq_f32(b.low, b.high));
  const float32x4_t cd = vpaddq_f32(vaddq_f32(c.low, c.high), vaddq_f32(d.low, d.high));
  vst1q_f32(out, vpaddq_f32(ab, cd));
}
// Lane by lane the larger magnitude, as bits; so NaN is the largest of all.
inline float32x4_t mostOf(float32x4_t most, float32x4_t a) {
  const uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x7fffffff));
  return vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(most), bits));
}
inline VF fmost(VF most, VF a) { return {mostOf(most.low, a.low), mostOf(most.high, a.high)}; }
inline VD dload(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
inline void dstore(double* p, VD a) {
  vst1q_f64(p, a.low);
  vst1q_f64(p + 2, a.high);
}
inline VD dset(double a) { return {vdupq_n_f64(a), vdupq_n_f64(a)}; }
inline VD dmadd(VD a, VD b, VD c) { return {vfmaq_f64(c.low, a.low, b.low), vfmaq_f64(c.high, a.high, b.high)}; }
inline VD dadd(VD a, VD b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
inline VD dsub(VD a, VD b) { return {vsubq_f64(a.low, b.low), vsubq_f64(a.high, b.high)}; }
inline VD dmul(VD a, VD b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
inline double dsum(VD a) { return vaddvq_f64(vaddq_f64(a.low, a.high)); }
inline VD widen(float32x4_t a) { return {vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a)}; }
inline VD widenLow(VF a) { return widen(a.low); }
inline VD widenHigh(VF a) { return widen(a.high); }
inline float32x4_t narrowHalf(VD a) { return vcvt_high_f32_f64(vcvt_f32_f64(a.low), a.high); }
inline VF narrow(VD low, VD high) { return {narrowHalf(low), narrowHalf(high)}; }
inline VF loadF16(const uint16_t* p) {
  const float16x8_t x = vreinterpretq_f16_u16(vld1q_u16(p));
  return {vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)};
}
inline VF loadBf16(const uint16_t* p) {
  const uint16x8_t x = vld1q_u16(p);
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(x, 16))};
}

}  // namespace
}  // namespace qkspace
