// Vectors of AVX2, FMA and F16C: 8 floats, 4 doubles. Six rows of two vectors are 12 sums, which with the right operand
// and a broadcast fill 15 of the 16 registers.
#pragma once

#include "cpu/vectors/half.h"
#include "cpu/vectors/lane_sums.h"

namespace qkspace {
namespace {

typedef __m256 VF;
typedef __m256d VD;
constexpr int W = 8;
constexpr int MR = 6;
inline VF fload(const float* p) { return _mm256_loadu_ps(p); }
inline void fstore(float* p, VF a) { _mm256_storeu_ps(p, a); }
inline VF fset(float a) { return _mm256_set1_ps(a); }
inline VF fmadd(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
inline VF fadd(VF a, VF b) { return _mm256_add_ps(a, b); }
inline VF fsub(VF a, VF b) { return _mm256_sub_ps(a, b); }
inline VF fmul(VF a, VF b) { return _mm256_mul_ps(a, b); }
inline __m128 halfSums(VF a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
// out[i] = sum of the lanes of the i-th
inline void fsum4(VF a, VF b, VF c, VF d, float* out) {
  _mm_storeu_ps(out, laneSums(halfSums(a), halfSums(b), halfSums(c), halfSums(d)));
}
// Lane by lane the larger magnitude, as bits; so NaN is the largest of all.
inline VF fmost(VF most, VF a) {
  __m256i bits = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff));
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(most), bits));
}
inline VD dload(const double* p) { return _mm256_loadu_pd(p); }
inline void dstore(double* p, VD a) { _mm256_storeu_pd(p, a); }
inline VD dset(double a) { return _mm256_set1_pd(a); }
inline VD dmadd(VD a, VD b, VD c) { return _mm256_fmadd_pd(a, b, c); }
inline VD dadd(VD a, VD b) { return _mm256_add_pd(a, b); }
inline VD dsub(VD a, VD b) { return _mm256_sub_pd(a, b); }
inline VD dmul(VD a, VD b) { return _mm256_mul_pd(a, b); }
inline double dsum(VD a) {
  __m128d half = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}
inline VD widenLow(VF a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
inline VD widenHigh(VF a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
inline VF narrow(VD low, VD high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}
inline VF loadF16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline VF loadBf16(const uint16_t* p) {
  __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

}  // namespace
}  // namespace qkspace
