// Vectors of SSE2, which every 64-bit x86 has: 4 floats, 2 doubles.
#pragma once

#include "cpu/vectors/half.h"
#include "cpu/vectors/lane_sums.h"

namespace qkspace {
namespace {

typedef __m128 VF;
typedef __m128d VD;
constexpr int W = 4;
constexpr int MR = 4;
inline VF fload(const float* p) { return _mm_loadu_ps(p); }
inline void fstore(float* p, VF a) { _mm_storeu_ps(p, a); }
inline VF fset(float a) { return _mm_set1_ps(a); }
inline VF fmadd(VF a, VF b, VF c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline VF fadd(VF a, VF b) { return _mm_add_ps(a, b); }
inline VF fsub(VF a, VF b) { return _mm_sub_ps(a, b); }
inline VF fmul(VF a, VF b) { return _mm_mul_ps(a, b); }
// out[i] = sum of the lanes of the i-th
inline void fsum4(VF a, VF b, VF c, VF d, float* out) { _mm_storeu_ps(out, laneSums(a, b, c, d)); }
// Lane by lane the larger magnitude, as bits; so NaN is the largest of all.
inline VF fmost(VF most, VF a) {
  const __m128i x = _mm_castps_si128(most);
  const __m128i y = _mm_and_si128(_mm_castps_si128(a), _mm_set1_epi32(0x7fffffff));
  const __m128i larger = _mm_cmpgt_epi32(x, y);
  return _mm_castsi128_ps(_mm_or_si128(_mm_and_si128(larger, x), _mm_andnot_si128(larger, y)));
}
inline VD dload(const double* p) { return _mm_loadu_pd(p); }
inline void dstore(double* p, VD a) { _mm_storeu_pd(p, a); }
inline VD dset(double a) { return _mm_set1_pd(a); }
inline VD dmadd(VD a, VD b, VD c) { return _mm_add_pd(_mm_mul_pd(a, b), c); }
inline VD dadd(VD a, VD b) { return _mm_add_pd(a, b); }
inline VD dsub(VD a, VD b) { return _mm_sub_pd(a, b); }
inline VD dmul(VD a, VD b) { return _mm_mul_pd(a, b); }
inline double dsum(VD a) { return _mm_cvtsd_f64(_mm_add_sd(a, _mm_unpackhi_pd(a, a))); }
inline VD widenLow(VF a) { return _mm_cvtps_pd(a); }
inline VD widenHigh(VF a) { return _mm_cvtps_pd(_mm_movehl_ps(a, a)); }
inline VF narrow(VD low, VD high) { return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high)); }

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
