// Products with one matrix, row-major f32, rows padded with zeros to whole vectors. The number of rows is a multiple
// of 4.
#pragma once

#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

// out[r] = a_r . x
static inline void rowsTimes(const float* a, int ld, int rows, const float* x, float* out) {
  for (int r = 0; r < rows; r += 4, a += 4 * ld) {
    VF s0 = fset(0.0f), s1 = s0, s2 = s0, s3 = s0;
    for (int j = 0; j < ld; j += W) {
      const VF f = fload(x + j);
      s0 = fmadd(f, fload(a + j), s0);
      s1 = fmadd(f, fload(a + ld + j), s1);
      s2 = fmadd(f, fload(a + 2 * ld + j), s2);
      s3 = fmadd(f, fload(a + 3 * ld + j), s3);
    }
    fsum4(s0, s1, s2, s3, out + r);
  }
}

// out = out + sum_r f[r] a_r
static inline void addRows(const float* a, int ld, int rows, const float* f, float* out) {
  for (int r = 0; r < rows; r += 4, a += 4 * ld) {
    const VF f0 = fset(f[r]), f1 = fset(f[r + 1]), f2 = fset(f[r + 2]), f3 = fset(f[r + 3]);
    for (int j = 0; j < ld; j += W) {
      VF y = fload(out + j);
      y = fmadd(f0, fload(a + j), y);
      y = fmadd(f1, fload(a + ld + j), y);
      y = fmadd(f2, fload(a + 2 * ld + j), y);
      y = fmadd(f3, fload(a + 3 * ld + j), y);
      fstore(out + j, y);
    }
  }
}

// p = A x and out = A^T p in one reading of A.
static inline void normalProduct(const float* a, int ld, int rows, const float* x, float* p, float* out) {
  for (int j = 0; j < ld; j += W) {
    fstore(out + j, fset(0.0f));
  }
  for (int r = 0; r < rows; r += 4, a += 4 * ld) {
    rowsTimes(a, ld, 4, x, p + r);
    addRows(a, ld, 4, p + r, out);
  }
}

// sum_j x_j y_j in f64
static inline double dotOf(const float* x, const float* y, int n) {
  VD low = dset(0.0), high = low;
  for (int j = 0; j < n; j += W) {
    const VF a = fload(x + j), b = fload(y + j);
    low = dmadd(widenLow(a), widenLow(b), low);
    high = dmadd(widenHigh(a), widenHigh(b), high);
  }
  return dsum(dadd(low, high));
}

static inline void scaleTo(const float* x, double factor, float* out, int n) {
  const VF f = fset(static_cast<float>(factor));
  for (int j = 0; j < n; j += W) {
    fstore(out + j, fmul(f, fload(x + j)));
  }
}

}  // namespace
}  // namespace qkspace
