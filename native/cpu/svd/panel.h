// Tall panels: [rows, ld] row-major, ld the number of columns padded by zeros to whole vectors, f32 or f64.
//
// A product with a panel broadcasts entries of the other operand against whole rows, so nothing is ever
// transposed. Columns are orthonormalised through their Gram matrix (Cholesky-QR): Y^T Y = R^T R, Q = Y R^-1,
// three passes that are all products, where Gram-Schmidt would be 2 b^2 / 2 short sums, one after another.
// One pass leaves columns that are orthonormal to eps * cond(Y)^2, two to eps, as long as the first had a
// factor to go on (Yamamoto, Nakatsukasa, Yanagisawa and Fukaya 2015); `cholesky` reports the columns that
// depend on earlier ones.
#pragma once

#include "cpu/svd/vector.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

template <typename T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef VF V;
  static constexpr int width = W;
  static inline V load(const float* p) { return fload(p); }
  static inline void store(float* p, V a) { fstore(p, a); }
  static inline V set(float a) { return fset(a); }
  static inline V madd(V a, V b, V c) { return fmadd(a, b, c); }
};
template <>
struct Lanes<double> {
  typedef VD V;
  static constexpr int width = D;
  static inline V load(const double* p) { return dload(p); }
  static inline void store(double* p, V a) { dstore(p, a); }
  static inline V set(double a) { return dset(a); }
  static inline V madd(V a, V b, V c) { return dmadd(a, b, c); }
};

// Columns of a panel: whole vectors in both precisions.
static inline int panelWidth(int columns) { return (columns + W - 1) / W * W; }

// R rows of y = a x over `inner`, N vectors of columns; a's entries at step (row, inner).
template <typename T, int R, int N>
static inline void panelBlock(const T* a, int rowStep, int innerStep, int inner, const T* x, T* y, int ld) {
  typedef Lanes<T> L;
  typename L::V sum[R][N];
  for (int r = 0; r < R; r++) {
    for (int n = 0; n < N; n++) {
      sum[r][n] = L::set(0);
    }
  }
  for (int k = 0; k < inner; k++, a += innerStep, x += ld) {
    typename L::V right[N];
    for (int n = 0; n < N; n++) {
      right[n] = L::load(x + n * L::width);
    }
    for (int r = 0; r < R; r++) {
      const typename L::V left = L::set(a[static_cast<int64_t>(r) * rowStep]);
      for (int n = 0; n < N; n++) {
        sum[r][n] = L::madd(left, right[n], sum[r][n]);
      }
    }
  }
  for (int r = 0; r < R; r++) {
    for (int n = 0; n < N; n++) {
      L::store(y + static_cast<size_t>(r) * ld + n * L::width, sum[r][n]);
    }
  }
}

template <typename T, int R, int N>
static void panelColumns(const T* a, int rowStep, int innerStep, int rows, int inner, const T* x, T* y, int ld) {
  int i = 0;
  for (; i + R <= rows; i += R) {
    panelBlock<T, R, N>(a + static_cast<int64_t>(i) * rowStep, rowStep, innerStep, inner, x,
                        y + static_cast<size_t>(i) * ld, ld);
  }
  for (; i < rows; i++) {
    panelBlock<T, 1, N>(a + static_cast<int64_t>(i) * rowStep, rowStep, innerStep, inner, x,
                        y + static_cast<size_t>(i) * ld, ld);
  }
}

// y [rows, ld] = op(a) x [inner, ld]
template <typename T>
static void panelProduct(const T* a, int rowStep, int innerStep, int rows, int inner, const T* x, T* y, int ld) {
  constexpr int width = Lanes<T>::width;
  int j = 0;
  for (; j + 2 * width <= ld; j += 2 * width) {
    panelColumns<T, 4, 2>(a, rowStep, innerStep, rows, inner, x + j, y + j, ld);
  }
  for (; j < ld; j += width) {
    panelColumns<T, 8, 1>(a, rowStep, innerStep, rows, inner, x + j, y + j, ld);
  }
}

static inline void loadPair(const double* p, VD* pair) {
  pair[0] = dload(p);
  pair[1] = dload(p + D);
}
static inline void loadPair(const float* p, VD* pair) {
  const VF x = fload(p);
  pair[0] = widenLow(x);
  pair[1] = widenHigh(x);
}

// The upper triangle of g [b, ld] = y^T y, in f64, in whole vectors (so that entries below it are written too).
template <typename T>
static void gram(const T* y, int rows, int b, int ld, double* g) {
  constexpr int R = 4;
  for (int i = 0; i < b; i += R) {
    for (int j = i / W * W; j < ld; j += W) {
      VD sum[R][2];
      for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = dset(0.0);
      }
      for (int k = 0; k < rows; k++) {
        const T* row = y + static_cast<size_t>(k) * ld;
        VD right[2];
        loadPair(row + j, right);
        for (int r = 0; r < R; r++) {
          const VD left = dset(static_cast<double>(row[i + r]));
          sum[r][0] = dmadd(left, right[0], sum[r][0]);
          sum[r][1] = dmadd(left, right[1], sum[r][1]);
        }
      }
      for (int r = 0; r < R && i + r < b; r++) {
        dstore(g + static_cast<size_t>(i + r) * ld + j, sum[r][0]);
        dstore(g + static_cast<size_t>(i + r) * ld + j + D, sum[r][1]);
      }
    }
  }
}

// g [b, ld] -> upper triangular R with R^T R = g, zeros below. A column of which less than `least` (squared)
// is left by the earlier ones becomes zero. Returns how many were left.
static int cholesky(double* g, int b, int ld, double least) {
  int kept = 0;
  for (int k = 0; k < b; k++) {
    double* row = g + static_cast<size_t>(k) * ld;
    const double pivot = row[k];
    // What the column had at first waits in the place below the diagonal that nothing else uses.
    const double before = k == 0 ? pivot : g[static_cast<size_t>(k) * ld];
    for (int j = 0; j < k; j++) {
      row[j] = 0;
    }
    if (k == 0) {
      for (int i = 1; i < b; i++) {
        g[static_cast<size_t>(i) * ld] = g[static_cast<size_t>(i) * ld + i];
      }
    }
    if (!(pivot > least * before) || !(pivot > 1e-280)) {
      for (int j = k; j < ld; j++) {
        row[j] = 0;
      }
      continue;
    }
    kept++;
    const VD scale = dset(1.0 / sqrt(pivot));
    for (int j = k / D * D; j < ld; j += D) {
      dstore(row + j, dmul(dload(row + j), scale));
    }
    for (int i = k + 1; i < b; i++) {
      double* other = g + static_cast<size_t>(i) * ld;
      const double first = other[0];
      const VD factor = dset(-row[i]);
      for (int j = i / D * D; j < ld; j += D) {
        dstore(other + j, dmadd(factor, dload(row + j), dload(other + j)));
      }
      other[0] = first;
    }
  }
  return kept;
}

// t [b, ld] = R^-1 for upper triangular r; columns that are zero in R are zero in t.
static void invertUpper(const double* r, int b, int ld, double* t) {
  memset(t, 0, static_cast<size_t>(b) * ld * sizeof(double));
  for (int i = b - 1; i >= 0; i--) {
    const double diagonal = r[static_cast<size_t>(i) * ld + i];
    double* row = t + static_cast<size_t>(i) * ld;
    if (diagonal == 0) {
      continue;
    }
    row[i] = 1;
    for (int j = i + 1; j < b; j++) {
      const double* other = t + static_cast<size_t>(j) * ld;
      const VD factor = dset(-r[static_cast<size_t>(i) * ld + j]);
      for (int c = j / D * D; c < ld; c += D) {
        dstore(row + c, dmadd(factor, dload(other + c), dload(row + c)));
      }
    }
    const VD scale = dset(1.0 / diagonal);
    for (int c = i / D * D; c < ld; c += D) {
      dstore(row + c, dmul(dload(row + c), scale));
    }
  }
}

}  // namespace
}  // namespace qkspace
