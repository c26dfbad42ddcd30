// Vector operations of the decompositions, f64. Lengths are multiples of D; callers pad with zeros.
#pragma once

#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

static inline int smaller(int a, int b) { return a < b ? a : b; }

constexpr int D = W / 2;  // doubles in a VD

static inline int padded(int n) { return (n + D - 1) / D * D; }

static inline double dot(const double* x, const double* y, int n) {
  VD a = dset(0.0), b = dset(0.0);
  int i = 0;
  for (; i + 2 * D <= n; i += 2 * D) {
    a = dmadd(dload(x + i), dload(y + i), a);
    b = dmadd(dload(x + i + D), dload(y + i + D), b);
  }
  for (; i < n; i += D) {
    a = dmadd(dload(x + i), dload(y + i), a);
  }
  return dsum(dadd(a, b));
}

static inline void axpy(double factor, const double* x, double* y, int n) {
  const VD f = dset(factor);
  for (int i = 0; i < n; i += D) {
    dstore(y + i, dmadd(f, dload(x + i), dload(y + i)));
  }
}

// y = y - f w, and the new y . u
static inline double updateDot(double f, const double* w, const double* u, double* y, int n) {
  const VD factor = dset(-f);
  VD a = dset(0.0), b = dset(0.0);
  int i = 0;
  for (; i + 2 * D <= n; i += 2 * D) {
    const VD y0 = dmadd(factor, dload(w + i), dload(y + i));
    const VD y1 = dmadd(factor, dload(w + i + D), dload(y + i + D));
    dstore(y + i, y0);
    dstore(y + i + D, y1);
    a = dmadd(y0, dload(u + i), a);
    b = dmadd(y1, dload(u + i + D), b);
  }
  for (; i < n; i += D) {
    const VD y0 = dmadd(factor, dload(w + i), dload(y + i));
    dstore(y + i, y0);
    a = dmadd(y0, dload(u + i), a);
  }
  return dsum(dadd(a, b));
}

// out[0 .. n) = sum_i x[i] a[i][0 .. n)
static inline void vectorTimesRows(const double* x, const double* a, int lda, int rows, double* out, int n) {
  int j = 0;
  for (; j + 4 * D <= n; j += 4 * D) {
    VD s0 = dset(0.0), s1 = s0, s2 = s0, s3 = s0;
    const double* p = a + j;
    for (int i = 0; i < rows; i++, p += lda) {
      const VD f = dset(x[i]);
      s0 = dmadd(f, dload(p), s0);
      s1 = dmadd(f, dload(p + D), s1);
      s2 = dmadd(f, dload(p + 2 * D), s2);
      s3 = dmadd(f, dload(p + 3 * D), s3);
    }
    dstore(out + j, s0);
    dstore(out + j + D, s1);
    dstore(out + j + 2 * D, s2);
    dstore(out + j + 3 * D, s3);
  }
  for (; j < n; j += D) {
    VD s0 = dset(0.0), s1 = s0;
    const double* p = a + j;
    int i = 0;
    for (; i + 2 <= rows; i += 2, p += 2 * lda) {
      s0 = dmadd(dset(x[i]), dload(p), s0);
      s1 = dmadd(dset(x[i + 1]), dload(p + lda), s1);
    }
    if (i < rows) {
      s0 = dmadd(dset(x[i]), dload(p), s0);
    }
    dstore(out + j, dadd(s0, s1));
  }
}

// (x, y) = (c x + s y, c y - s x)
static inline void rotate(double* x, double* y, int n, double c, double s) {
  const VD vc = dset(c), vs = dset(s);
  for (int i = 0; i < n; i += D) {
    const VD a = dload(x + i), b = dload(y + i);
    dstore(x + i, dmadd(vs, b, dmul(vc, a)));
    dstore(y + i, dsub(dmul(vc, b), dmul(vs, a)));
  }
}

// Rotations of rows (j, j + 1), j = 0 .. count - 1, in turn; a row is loaded and stored once for two of them.
template <int N>
static inline void rotateChunk(double* m, int ld, int count, const double* c, const double* s) {
  VD carry[N];
  for (int n = 0; n < N; n++) {
    carry[n] = dload(m + n * D);
  }
  for (int j = 0; j < count; j++, m += ld) {
    const VD vc = dset(c[j]), vs = dset(s[j]);
    for (int n = 0; n < N; n++) {
      const VD y = dload(m + ld + n * D);
      dstore(m + n * D, dmadd(vs, y, dmul(vc, carry[n])));
      carry[n] = dsub(dmul(vc, y), dmul(vs, carry[n]));
    }
  }
  for (int n = 0; n < N; n++) {
    dstore(m + n * D, carry[n]);
  }
}

static void rotateRows(double* m, int ld, int width, int count, const double* c, const double* s) {
  int i = 0;
  for (; i + 4 * D <= width; i += 4 * D) {
    rotateChunk<4>(m + i, ld, count, c, s);
  }
  for (; i < width; i += D) {
    rotateChunk<1>(m + i, ld, count, c, s);
  }
}

}  // namespace
}  // namespace qkspace
