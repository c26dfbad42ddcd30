// The largest eigenvalue of a symmetric tridiagonal matrix with diagonal a[0 .. n) and off-diagonal b[0 .. n - 1), and
// its vector. f64, O(n).
#pragma once

#include "cpu/vectors/before_target.h"

namespace qkspace {
namespace {

// Laguerre's method on the characteristic polynomial, from Gershgorin's bound down: all roots are real, so it falls
// monotonically to the largest. Values below 1e-200 are scaled up: only ratios are used.
static double largestEigenvalue(const double* a, const double* b, int n) {
  double bound = 0;
  for (int i = 0; i < n; i++) {
    const double x = a[i] + (i > 0 ? b[i - 1] : 0) + (i + 1 < n ? b[i] : 0);
    bound = x > bound ? x : bound;
  }
  if (n == 1 || !(bound > 0)) {
    return n == 1 ? a[0] : bound;
  }
  const double unit = 1 / bound;
  double x = 1;
  for (int step = 0; step < 60; step++) {
    // The polynomial and its first two derivatives, of the leading i and i - 1 rows.
    double p = x - a[0] * unit, p1 = 1, p2 = 0, before = 1, before1 = 0, before2 = 0;
    for (int i = 1; i < n; i++) {
      const double c = x - a[i] * unit, e = b[i - 1] * unit * (b[i - 1] * unit);
      const double q2 = 2 * p1 + c * p2 - e * before2, q1 = p + c * p1 - e * before1, q = c * p - e * before;
      before = p, before1 = p1, before2 = p2;
      p = q, p1 = q1, p2 = q2;
      if (p1 < 1e-200 && p1 > -1e-200) {
        p *= 1e200, p1 *= 1e200, p2 *= 1e200, before *= 1e200, before1 *= 1e200, before2 *= 1e200;
      }
    }
    if (!(p > 0) || !(p1 > 0)) {
      break;
    }
    const double g = p1 / p, h = g * g - p2 / p, under = (n - 1) * (n * h - g * g);
    const double fall = n / (g + sqrt(under > 0 ? under : 0));
    if (!(fall > 0)) {
      break;
    }
    x -= fall;
    if (fall < 4e-16 * x) {
      break;
    }
  }
  return x * bound;
}

// y [n] with y[n - 1] = 1, from the last entry up, in which direction it grows. Returns its length.
static double eigenvectorOf(const double* a, const double* b, int n, double value, double* y) {
  y[n - 1] = 1;
  double square = 1;
  for (int i = n - 1; i > 0; i--) {
    const double next = i + 1 < n ? b[i] * y[i + 1] : 0;
    y[i - 1] = ((value - a[i]) * y[i] - next) / b[i - 1];
    square += y[i - 1] * y[i - 1];
  }
  return sqrt(square);
}

// Eigenvalues above x, by Sturm's sequence.
static int eigenvaluesAbove(const double* a, const double* b, int n, double x) {
  int count = 0;
  double pivot = 1;
  for (int i = 0; i < n; i++) {
    pivot = a[i] - x - (i > 0 ? b[i - 1] * b[i - 1] / pivot : 0);
    if (pivot == 0) {
      pivot = 1e-300;
    }
    count += pivot > 0;
  }
  return count;
}

}  // namespace
}  // namespace qkspace
