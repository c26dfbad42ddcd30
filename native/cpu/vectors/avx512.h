// Vectors of AVX-512 (F, DQ, BW, VL): 16 floats, 8 doubles.
#pragma once

#include "cpu/vectors/half.h"
#include "cpu/vectors/lane_sums.h"

namespace qkspace {
namespace {

typedef __m512 VF;
typedef __m512d VD;
constexpr int W = 16;
constexpr int MR = 8;
inline VF fload(const float* p) { return _mm512_loadu_ps(p); }
inline void fstore(float* p, VF a) { _mm512_storeu_ps(p, a); }
inline VF fset(float a) { return _mm512_set1_ps(a); }
inline VF fmadd(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
inline VF fadd(VF a, VF b) { return _mm512_add_ps(a, b); }
inline VF fsub(VF a, VF b) { return _mm512_sub_ps(a, b); }
inline VF fmul(VF a, VF b) { return _mm512_mul_ps(a, b); }
inline __m128 quarterSums(VF a) {
  const __m256 half = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, a, 0), _mm512_maskz_extractf32x8_ps(0xff, a, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
// out[i] = sum of the lanes of the i-th
inline void fsum4(VF a, VF b, VF c, VF d, float* out) {
  _mm_storeu_ps(out, laneSums(quarterSums(a), quarterSums(b), quarterSums(c), quarterSums(d)));
}
// Lane by lane the larger magnitude, as bits; so NaN is the largest of all.
inline VF fmost(VF most, VF a) {
  __m512i bits = _mm512_and_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff));
  return _mm512_castsi512_ps(_mm512_maskz_max_epi32(0xffff, _mm512_castps_si512(most), bits));
}
inline VD dload(const double* p) { return _mm512_loadu_pd(p); }
inline void dstore(double* p, VD a) { _mm512_storeu_pd(p, a); }
inline VD dset(double a) { return _mm512_set1_pd(a); }
inline VD dmadd(VD a, VD b, VD c) { return _mm512_fmadd_pd(a, b, c); }
inline VD dadd(VD a, VD b) { return _mm512_add_pd(a, b); }
inline VD dsub(VD a, VD b) { return _mm512_sub_pd(a, b); }
inline VD dmul(VD a, VD b) { return _mm512_mul_pd(a, b); }
inline double dsum(VD a) {
  __m256d four = _mm256_add_pd(_mm512_maskz_extractf64x4_pd(0xf, a, 0), _mm512_maskz_extractf64x4_pd(0xf, a, 1));
  __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline VD widenLow(VF a) { return _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, a, 0)); }
inline VD widenHigh(VF a) { return _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, a, 1)); }
inline VF narrow(VD low, VD high) {
  __m512 wide = _mm512_castps256_ps512(_mm512_maskz_cvtpd_ps(0xff, low));
  return _mm512_insertf32x8(wide, _mm512_maskz_cvtpd_ps(0xff, high), 1);
}
inline VF loadF16(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline VF loadBf16(const uint16_t* p) {
  __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, bits), 16));
}

}  // namespace
}  // namespace qkspace
