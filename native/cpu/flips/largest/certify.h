// Whether no singular value of A [rows, ld] f32 is above a bound: the pivots of
//
//   S = I - A^T A / bound^2 = L diag(p) L^T
//
// are all positive exactly where S is positive definite (Sylvester). Lanczos' method alone cannot tell: where its
// start is all but orthogonal to the first singular vector, it settles on the second value. That befell one draw in
// about ten thousand, with values up to 1% too small. Only the upper half is made, in f32: d^3 / 2 and d^3 / 6
// multiplications, about as long as the Lanczos steps take.
#pragma once

#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

// Rows i of S from the vector that has column i on. ld is a multiple of 8 and of W.
static void definiteForm(const float* a, int d, int ld, double bound, float* s) {
  const VF factor = fset(static_cast<float>(-1 / (bound * bound)));
  for (int i = 0; i < ld; i += 8) {
    for (int j = i / W * W; j < ld; j += W) {
      VF sums[8];
      for (int t = 0; t < 8; t++) {
        sums[t] = fset(0.0f);
      }
      const float* row = a;
      for (int r = 0; r < d; r++, row += ld) {
        const VF x = fload(row + j);
        for (int t = 0; t < 8; t++) {
          sums[t] = fmadd(fset(row[i + t]), x, sums[t]);
        }
      }
      for (int t = 0; t < 8; t++) {
        fstore(s + static_cast<size_t>(i + t) * ld + j, fmul(factor, sums[t]));
      }
    }
  }
  for (int i = 0; i < ld; i++) {
    s[static_cast<size_t>(i) * ld + i] += 1;
  }
}

// row_i -= sum of f[t] row_(k + t) over t < count, from the vector that has column i on.
static inline void eliminate(float* s, int ld, int i, int k, int count, const float* f) {
  float* to = s + static_cast<size_t>(i) * ld;
  const float* from = s + static_cast<size_t>(k) * ld;
  if (count == 4) {
    const VF f0 = fset(-f[0]), f1 = fset(-f[1]), f2 = fset(-f[2]), f3 = fset(-f[3]);
    for (int j = i / W * W; j < ld; j += W) {
      VF y = fload(to + j);
      y = fmadd(f0, fload(from + j), y);
      y = fmadd(f1, fload(from + ld + j), y);
      y = fmadd(f2, fload(from + 2 * ld + j), y);
      y = fmadd(f3, fload(from + 3 * ld + j), y);
      fstore(to + j, y);
    }
    return;
  }
  for (int t = 0; t < count; t++, from += ld) {
    const VF g = fset(-f[t]);
    for (int j = i / W * W; j < ld; j += W) {
      fstore(to + j, fmadd(g, fload(from + j), fload(to + j)));
    }
  }
}

// Four pivots at a time: their rows first, then all below.
static bool isDefinite(float* s, int d, int ld) {
  for (int k = 0; k < d; k += 4) {
    float inverse[4] = {1, 1, 1, 1}, f[4];
    for (int t = 0; t < 4; t++) {
      const float* column = s + static_cast<size_t>(k) * ld + k + t;
      for (int e = 0; e < t; e++) {
        f[e] = column[static_cast<size_t>(e) * ld] * inverse[e];
      }
      eliminate(s, ld, k + t, k, t, f);
      const float pivot = column[static_cast<size_t>(t) * ld];
      if (!(pivot > 0)) {
        return false;
      }
      inverse[t] = 1 / pivot;
    }
    for (int i = k + 4; i < d; i++) {
      for (int t = 0; t < 4; t++) {
        f[t] = s[static_cast<size_t>(k + t) * ld + i] * inverse[t];
      }
      eliminate(s, ld, i, k, 4, f);
    }
  }
  return true;
}

// `s` has room for [ld, ld]. The bound has a margin for the rounding of f32.
static bool isLargest(const float* a, int d, int ld, double value, float* s) {
  const double margin = 1e-6 + d * 7.5e-9;
  definiteForm(a, d, ld, value * (1 + margin), s);
  return isDefinite(s, d, ld);
}

}  // namespace
}  // namespace qkspace
