// The largest singular value of a matrix A [rows, ld] f32, by Lanczos' method on A^T A with full reorthogonalisation:
//
//   T_n = V_n^T A^T A V_n, V_n an orthonormal basis of x, (A^T A) x, ..., (A^T A)^(n-1) x
//
// It starts from x = A^T r with r fixed, so that -A goes the same way and gives the same bits. Directions are f32 and
// the scalars f64. At the end the quotient ||A y|| / ||y|| of the Ritz vector y is taken in f64. Its error is the square
// of the vector's: f32 directions are enough for a value to 1e-7.
//
// With residual r and gap g to the next eigenvalue of T_n, the error of the largest eigenvalue is at most
// min(r, r^2 / g), if no eigenvalue of A^T A is hidden from the start. It stops where that is below kTolerance of the
// value, or where all d directions are used up; then certify.h says whether one is hidden.
#pragma once

#include "cpu/flips/largest/certify.h"
#include "cpu/flips/largest/matrix.h"
#include "cpu/flips/largest/tridiagonal.h"
#include "cpu/vectors/largest.h"

namespace qkspace {
namespace {

constexpr double kTolerance = 5e-8;  // of the eigenvalue; half of it of the singular value
constexpr int kFirstCheck = 12, kCheckEvery = 3;

struct LanczosMemory {
  float *directions, *product, *residual, *along;  // [rows, ld], [ld] each
  double *diagonal, *beside, *vector;              // [d + 1] each
  float* form;                                     // [ld, ld]
};

// Entries of fixed vectors, one for each attempt, between 0.5 and 1.5 in magnitude, with signs in no order.
static inline float startEntry(int i, int attempt) {
  uint32_t x = static_cast<uint32_t>(i + 1) * 2654435761u + static_cast<uint32_t>(attempt) * 2246822519u;
  x ^= x >> 15;
  x *= 2246822519u;
  x ^= x >> 13;
  const float magnitude = 0.5f + static_cast<float>(x >> 9) * (1.0f / 8388608.0f);
  return x & 1 ? -magnitude : magnitude;
}

// Whether the largest eigenvalue of T_n is settled; `vector` is set to its vector, of any length.
static bool settled(const LanczosMemory& m, int n, bool last) {
  const double value = largestEigenvalue(m.diagonal, m.beside, n);
  const double length = eigenvectorOf(m.diagonal, m.beside, n, value, m.vector);
  const double r = m.beside[n - 1] / length;
  if (last || r <= 2 * kTolerance * value) {
    return true;
  }
  const double gap = r * r / (kTolerance * value);
  return gap < 0.5 * value && eigenvaluesAbove(m.diagonal, m.beside, n, value - gap) <= 1;
}

// ||A y|| / ||y|| in f64.
static double quotient(const float* a, int ld, int rows, const float* y) {
  double square = 0;
  for (int r = 0; r < rows; r++, a += ld) {
    const double p = dotOf(a, y, ld);
    square += p * p;
  }
  return sqrt(square / dotOf(y, y, ld));
}

static double lanczosValue(const float* a, int d, int ld, int rows, int attempt, const LanczosMemory& m) {
  float* v = m.directions;
  for (int i = 0; i < ld; i++) {
    m.product[i] = i < d ? startEntry(i, attempt) : 0.0f;
  }
  for (int j = 0; j < ld; j++) {
    v[j] = 0;
  }
  addRows(a, ld, rows, m.product, v);
  double length = sqrt(dotOf(v, v, ld));
  if (!(length > 0)) {
    for (int j = 0; j < d; j++) {
      v[j] = startEntry(j, attempt);
    }
    length = sqrt(dotOf(v, v, ld));
  }
  scaleTo(v, 1 / length, v, ld);
  int next = kFirstCheck, n = 1;
  for (;; n++) {
    float* direction = v + static_cast<size_t>(n - 1) * ld;
    normalProduct(a, ld, rows, direction, m.product, m.residual);
    m.diagonal[n - 1] = dotOf(m.product, m.product, ld);
    // The directions are read four at a time: those beyond are zeros.
    const int padded = (n + 3) / 4 * 4;
    for (size_t i = static_cast<size_t>(n) * ld; i < static_cast<size_t>(padded) * ld; i++) {
      v[i] = 0;
    }
    rowsTimes(v, ld, padded, m.residual, m.along);
    for (int i = 0; i < padded; i++) {
      m.along[i] = -m.along[i];
    }
    addRows(v, ld, padded, m.along, m.residual);
    const double beside = sqrt(dotOf(m.residual, m.residual, ld));
    m.beside[n - 1] = beside;
    const bool last = n == d || !(beside > 1e-12 * m.diagonal[0]);
    if (last || n == next || beside < 1e-3 * m.diagonal[n - 1]) {
      if (settled(m, n, last)) {
        break;
      }
      next = n + kCheckEvery;
    }
    scaleTo(m.residual, 1 / beside, direction + ld, ld);
  }
  const int padded = (n + 3) / 4 * 4;
  double most = 0;
  for (int i = 0; i < n; i++) {
    const double x = m.vector[i] < 0 ? -m.vector[i] : m.vector[i];
    most = x > most ? x : most;
  }
  for (int i = 0; i < padded; i++) {
    m.along[i] = i < n ? static_cast<float>(m.vector[i] / most) : 0.0f;
  }
  for (int j = 0; j < ld; j++) {
    m.residual[j] = 0;
  }
  addRows(v, ld, padded, m.along, m.residual);
  return quotient(a, ld, rows, m.residual);
}

// From another start until the value is found to be the largest.
static double largestSingularValue(const float* a, int d, int ld, int rows, const LanczosMemory& m) {
  double value = 0;
  for (int attempt = 0; attempt < 4; attempt++) {
    const double found = lanczosValue(a, d, ld, rows, attempt, m);
    value = found > value ? found : value;
    if (isLargest(a, d, ld, value, m.form)) {
      break;
    }
  }
  return value;
}

}  // namespace
}  // namespace qkspace
