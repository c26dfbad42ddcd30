// Matrices of prescribed spectrum, and a plain f64 Jacobi, for svd_test.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/svd/block/random.cuh"

namespace qkspace {

using Matrix = std::vector<double>;

struct Random {
  uint64_t seed, at = 0;
  double uniform() { return randomAt(seed, at++); }
  double normal() { return std::sqrt(-2 * std::log(0.5 * (1 + uniform()) + 1e-300)) * std::cos(M_PI * uniform()); }
};

// count orthonormal vectors of length n, one after another
inline Matrix orthonormal(int n, int count, uint64_t seed) {
  Random random{seed};
  Matrix x(static_cast<size_t>(n) * count);
  for (int j = 0; j < count; j++) {
    double* a = &x[static_cast<size_t>(j) * n];
    for (int i = 0; i < n; i++) {
      a[i] = random.normal();
    }
    for (int pass = 0; pass < 3; pass++) {
      for (int k = 0; k < j; k++) {
        double along = 0;
        for (int i = 0; i < n; i++) {
          along += a[i] * x[static_cast<size_t>(k) * n + i];
        }
        for (int i = 0; i < n; i++) {
          a[i] -= along * x[static_cast<size_t>(k) * n + i];
        }
      }
      double length = 0;
      for (int i = 0; i < n; i++) {
        length += a[i] * a[i];
      }
      for (int i = 0; i < n; i++) {
        a[i] /= std::sqrt(length);
      }
    }
  }
  return x;
}

inline Matrix withSpectrum(int rows, int cols, const std::vector<double>& s, uint64_t seed) {
  const Matrix u = orthonormal(rows, static_cast<int>(s.size()), 2 * seed + 1),
               v = orthonormal(cols, static_cast<int>(s.size()), 2 * seed + 2);
  Matrix a(static_cast<size_t>(rows) * cols, 0.0);
  for (size_t c = 0; c < s.size(); c++) {
    for (int i = 0; i < rows && s[c] != 0; i++) {
      for (int j = 0; j < cols; j++) {
        a[static_cast<size_t>(i) * cols + j] += s[c] * u[c * rows + i] * v[c * cols + j];
      }
    }
  }
  return a;
}

// Singular values, descending: the plainest one-sided Jacobi.
inline std::vector<double> reference(const double* a, int rows, int cols) {
  const int n = std::min(rows, cols), m = std::max(rows, cols);
  Matrix y(static_cast<size_t>(n) * m);
  double total = 0, most = 0;
  for (int i = 0; i < rows * cols; i++) {
    most = std::max(most, std::fabs(a[i]));
  }
  if (most == 0) {
    return std::vector<double>(n, 0.0);
  }
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < cols; j++) {
      const double x = a[i * cols + j] / most;
      total += x * x;
      y[rows <= cols ? static_cast<size_t>(i) * m + j : static_cast<size_t>(j) * m + i] = x;
    }
  }
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < n; i++) {
      for (int j = i + 1; j < n; j++) {
        double *x = &y[static_cast<size_t>(i) * m], *z = &y[static_cast<size_t>(j) * m], p = 0, q = 0, g = 0;
        for (int k = 0; k < m; k++) {
          p += x[k] * x[k], q += z[k] * z[k], g += x[k] * z[k];
        }
        if (std::fabs(g) <= 1e-13 * std::sqrt(p * q) || std::min(p, q) <= 1e-32 * total) {
          continue;
        }
        again = true;
        const double zeta = (q - p) / (2 * g),
                     t = (zeta >= 0 ? 1 : -1) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (int k = 0; k < m; k++) {
          const double left = x[k];
          x[k] = c * left - s * z[k];
          z[k] = s * left + c * z[k];
        }
      }
    }
  }
  std::vector<double> s(n);
  for (int j = 0; j < n; j++) {
    double square = 0;
    for (int k = 0; k < m; k++) {
      square += y[static_cast<size_t>(j) * m + k] * y[static_cast<size_t>(j) * m + k];
    }
    s[j] = std::sqrt(square) * most;
  }
  std::sort(s.begin(), s.end(), std::greater<double>());
  return s;
}

}  // namespace qkspace
