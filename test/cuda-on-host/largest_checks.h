// Largest singular values by native/cuda/svd/largest against a plain Jacobi; for svd_test.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/svd/largest/lanczos.h"
#include "svd_checks.h"
#include "svd_reference.h"

namespace qkspace {

inline double largestOf(const Matrix& a, int d) { return reference(a.data(), d, d)[0]; }

// (I - u u^T) a (I - v v^T), u and v [r, d].
inline Matrix deflated(Matrix a, int d, const Matrix& u, const Matrix& v, int r) {
  for (int c = 0; c < r; c++) {
    for (int q = 0; q < d; q++) {
      double along = 0;
      for (int p = 0; p < d; p++) {
        along += u[c * d + p] * a[p * d + q];
      }
      for (int p = 0; p < d; p++) {
        a[p * d + q] -= along * u[c * d + p];
      }
    }
  }
  for (int c = 0; c < r; c++) {
    for (int p = 0; p < d; p++) {
      double along = 0;
      for (int q = 0; q < d; q++) {
        along += v[c * d + q] * a[p * d + q];
      }
      for (int q = 0; q < d; q++) {
        a[p * d + q] -= along * v[c * d + q];
      }
    }
  }
  return a;
}

// Largest singular values of noise, of low rank and noise, and of a zero matrix; with r leading triplets deflated,
// others for every two matrices.
inline void spectral(int d, int n, int r, double scale) {
  constexpr int kEach = 2;
  Random random{static_cast<uint64_t>(d)};
  const size_t size = static_cast<size_t>(d) * d;
  std::vector<float> a(n * size);
  for (float& x : a) {
    x = static_cast<float>(scale * random.normal());
  }
  const int groups = (n + kEach - 1) / kEach, planted = std::min(d, 3);
  std::vector<Matrix> u, v;
  std::vector<float> left, right;
  for (int g = 0; g < groups; g++) {
    u.push_back(orthonormal(d, planted, 8 + 2 * static_cast<uint64_t>(g)));
    v.push_back(orthonormal(d, planted, 9 + 2 * static_cast<uint64_t>(g)));
    for (int p = 0; p < d; p++) {
      for (int c = 0; c < r; c++) {
        left.push_back(static_cast<float>(u[g][c * d + p]));
        right.push_back(static_cast<float>(v[g][c * d + p]));
      }
    }
  }
  for (int i = 1; i < n; i += 3) {
    for (int c = 0; c < planted; c++) {
      for (int p = 0; p < d; p++) {
        for (int q = 0; q < d; q++) {
          a[i * size + p * d + q] += static_cast<float>(scale * (10 - c) * 5 * std::sqrt(d) * u[i / kEach][c * d + p] *
                                                        v[i / kEach][c * d + q]);
        }
      }
    }
  }
  if (n > 2) {
    std::fill_n(a.begin() + 2 * size, size, 0.0f);
  }
  std::vector<float> out(n, -1.0f), again(n, -1.0f);
  Device device(0, 0);
  const Deflation removed{left.data(), right.data(), r, kEach};
  largestSingularValues(device, a.data(), n, d, removed, 3, out.data());
  largestSingularValues(device, a.data(), n, d, removed, 3, again.data());
  device.stream.finish("largest singular values");
  double worst = 0;
  for (int i = 0; i < n; i++) {
    const Matrix whole(a.begin() + i * size, a.begin() + (i + 1) * size);
    // What deflation leaves of a whole matrix is rounding.
    const double expected = largestOf(deflated(whole, d, u[i / kEach], v[i / kEach], r), d);
    const double wrong = expected > 1e-5 * scale ? std::fabs(out[i] / expected - 1) : std::fabs(out[i]) / scale;
    worst = wrong <= worst ? worst : std::isnan(wrong) ? 1e300 : wrong;
  }
  char text[120];
  std::snprintf(text, sizeof text, "largest singular value, d = %d, r = %d, scale %g", d, r, scale);
  char found[60];
  std::snprintf(found, sizeof found, "off by %.1e", worst);
  line(worst <= 1e-4 && !std::memcmp(out.data(), again.data(), out.size() * sizeof(float)), text, found);
}

// Noise whose first right singular vector is orthogonal to one of the two starts, with a first value that is little
// above the second: from that start alone the second one is found.
inline void hidden(int d) {
  std::vector<float> matrices, out(2, -1.0f);
  for (int start = 0; start < 2; start++) {
    std::vector<double> s(d);
    for (int i = 0; i < d; i++) {
      s[i] = i == 0 ? 1.002 : 1 - 0.9 * (i - 1.0) / d;
    }
    const Matrix left = orthonormal(d, d, 21), right = orthonormal(d, d, 22);
    // The reflection that takes right_0 to a vector orthogonal to the start, applied to all.
    Matrix goal(&right[0], &right[d]), across(d);
    double along = 0, square = 0, length = 0;
    for (int e = 0; e < d; e++) {
      const double x = lanczosStart(3, static_cast<uint64_t>(start) * d + e);
      along += x * goal[e], square += x * x;
    }
    for (int e = 0; e < d; e++) {
      goal[e] -= along / square * lanczosStart(3, static_cast<uint64_t>(start) * d + e);
      length += goal[e] * goal[e];
    }
    double norm = 0;
    for (int e = 0; e < d; e++) {
      across[e] = right[e] - goal[e] / std::sqrt(length);
      norm += across[e] * across[e];
    }
    Matrix a(static_cast<size_t>(d) * d, 0.0);
    for (int c = 0; c < d; c++) {
      double part = 0;
      for (int e = 0; e < d; e++) {
        part += across[e] * right[c * d + e];
      }
      for (int p = 0; p < d; p++) {
        for (int q = 0; q < d; q++) {
          a[p * d + q] += s[c] * left[c * d + p] * (right[c * d + q] - 2 * part / norm * across[q]);
        }
      }
    }
    matrices.insert(matrices.end(), a.begin(), a.end());
  }
  Device device(0, 0);
  largestSingularValues(device, matrices.data(), 2, d, Deflation{}, 3, out.data());
  device.stream.finish("largest singular values");
  const double worst = std::max(std::fabs(out[0] / 1.002 - 1), std::fabs(out[1] / 1.002 - 1));
  char text[120];
  std::snprintf(text, sizeof text, "off by %.1e", worst);
  line(worst <= 1e-4, "a first value hidden from one start, d = " + std::to_string(d), text);
}

}  // namespace qkspace
