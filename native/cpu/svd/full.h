// Full decomposition A = U diag(s) V^T of an m x n matrix, m >= n, f64: Householder bidiagonalisation, then
// implicit QR on the bidiagonal (Golub and Kahan 1965; Golub and Reinsch 1970).
//
// Why this one: U and V are products of reflections and rotations, so they are orthonormal to a few eps * n
// on every spectrum (zero, deficient, clustered, graded), with nothing to complete or polish; singular
// values are right to a few eps * n * s_1.
//
// Layout. A is row-major with rows padded by zeros. Vectors are kept as rows (ut, vt), so that reflections
// and rotations run along memory. A step touches A twice: once for w = v^T A; once to apply the left
// reflection, and, row by row while it is in cache, the right one.
#pragma once

#include "cpu/svd/vector.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

struct FullWork {
  double* a;        // [m, ldn] destroyed
  double* left;     // [n, ldm] left reflectors, zero before their first entry
  double* right;    // [n, ldn]
  double *ut, *vt;  // [n, ldm], [n, ldn]
  double *d, *e;    // [n]
  double *w, *tauLeft, *tauRight, *cosV, *sinV, *cosU, *sinU;
};

static size_t fullWorkDoubles(int m, int n) {
  const size_t ldm = static_cast<size_t>(padded(m)), ldn = static_cast<size_t>(padded(n));
  return static_cast<size_t>(m) * ldn + 2 * static_cast<size_t>(n) * (ldm + ldn) + 9 * (ldn + 8);
}

static FullWork carveFull(double* p, int m, int n) {
  const size_t ldm = static_cast<size_t>(padded(m)), ldn = static_cast<size_t>(padded(n)), k = static_cast<size_t>(n);
  FullWork f;
  f.a = p;
  p += static_cast<size_t>(m) * ldn;
  f.left = p;
  p += k * ldm;
  f.right = p;
  p += k * ldn;
  f.ut = p;
  p += k * ldm;
  f.vt = p;
  p += k * ldn;
  double** small[] = {&f.d, &f.e, &f.w, &f.tauLeft, &f.tauRight, &f.cosV, &f.sinV, &f.cosU, &f.sinU};
  for (double** to : small) {
    *to = p;
    p += ldn + 8;
  }
  return f;
}

// Makes (I - tau v v^T) x = beta e_1 out of v = x, in place; v[0] becomes 1. Tails whose squares leave the
// range of f64 are taken as zero: they are below 1e-140 of the matrix.
static inline double reflector(double* v, int stepDown, double tail2, double* tau) {
  const double alpha = v[0];
  if (tail2 < 1e-280) {
    for (int i = 1; i < stepDown; i++) {
      v[i] = 0;
    }
    v[0] = 1;
    *tau = 0;
    return alpha;
  }
  const double norm = sqrt(alpha * alpha + tail2);
  const double beta = alpha >= 0 ? -norm : norm;
  const double scale = 1.0 / (alpha - beta);
  for (int i = 1; i < stepDown; i++) {
    v[i] *= scale;
  }
  v[0] = 1;
  *tau = (beta - alpha) / beta;
  return beta;
}

static void bidiagonalise(const FullWork& f, int m, int n) {
  const int ldm = padded(m), ldn = padded(n);
  for (int k = 0; k < n; k++) {
    double* v = f.left + static_cast<size_t>(k) * ldm;
    memset(v, 0, static_cast<size_t>(ldm) * sizeof(double));
    double tail = 0;
    for (int i = k; i < m; i++) {
      v[i] = f.a[static_cast<size_t>(i) * ldn + k];
    }
    for (int i = k + 1; i < m; i++) {
      tail += v[i] * v[i];
    }
    f.d[k] = reflector(v + k, m - k, tail, &f.tauLeft[k]);
    double* u = f.right + static_cast<size_t>(k) * ldn;
    memset(u, 0, static_cast<size_t>(ldn) * sizeof(double));
    f.tauRight[k] = 0;
    f.e[k] = 0;
    if (k == n - 1) {
      continue;
    }

    // Columns before `from` hold what is no longer read; those up to k are masked by zeros in u only, so
    // the left reflection may change them.
    const int from = (k + 1) / D * D, width = ldn - from;
    double* row = f.a + static_cast<size_t>(k) * ldn;
    if (f.tauLeft[k] != 0) {
      vectorTimesRows(v + k, row + from, ldn, m - k, f.w + from, width);
      for (int j = from; j < ldn; j++) {
        f.w[j] *= f.tauLeft[k];
      }
      for (int j = from; j < ldn; j++) {
        row[j] -= f.w[j];
      }
    } else {
      memset(f.w + from, 0, static_cast<size_t>(width) * sizeof(double));
    }
    tail = 0;
    for (int j = k + 1; j < n; j++) {
      u[j] = row[j];
    }
    for (int j = k + 2; j < n; j++) {
      tail += u[j] * u[j];
    }
    f.e[k] = reflector(u + k + 1, n - k - 1, tail, &f.tauRight[k]);
    for (int i = k + 1; i < m; i++) {
      double* y = f.a + static_cast<size_t>(i) * ldn + from;
      const double g = f.tauRight[k] * updateDot(v[i], f.w + from, u + from, y, width);
      axpy(-g, u + from, y, width);
    }
  }
}

// (I - tau v v^T) applied to R rows; v is read once for all, and their sums do not wait for each other.
template <int R>
static inline void reflectRows(double* rows, int ld, const double* v, double tau, int n) {
  VD sum[R];
  for (int r = 0; r < R; r++) {
    sum[r] = dset(0.0);
  }
  for (int i = 0; i < n; i += D) {
    const VD x = dload(v + i);
    for (int r = 0; r < R; r++) {
      sum[r] = dmadd(dload(rows + static_cast<size_t>(r) * ld + i), x, sum[r]);
    }
  }
  for (int r = 0; r < R; r++) {
    sum[r] = dset(-tau * dsum(sum[r]));
  }
  for (int i = 0; i < n; i += D) {
    const VD x = dload(v + i);
    for (int r = 0; r < R; r++) {
      double* y = rows + static_cast<size_t>(r) * ld + i;
      dstore(y, dmadd(sum[r], x, dload(y)));
    }
  }
}

// Rows of out [n, ld] = columns of the product of the reflections 0 .. n - 1 - shift, of which the k-th is
// the identity before k + shift. Four rows stay in the first cache while the reflections pass them.
static void accumulateReflections(const double* reflectors, const double* tau, int n, int ld, int shift, double* out) {
  memset(out, 0, static_cast<size_t>(n) * ld * sizeof(double));
  for (int j = 0; j < n; j++) {
    out[static_cast<size_t>(j) * ld + j] = 1;
  }
  for (int j = 0; j < n; j += 4) {
    double* rows = out + static_cast<size_t>(j) * ld;
    const int count = smaller(4, n - j);
    for (int k = j + count - 1 - shift; k >= 0; k--) {
      if (tau[k] == 0) {
        continue;
      }
      const int from = (k + shift) / D * D, first = k + shift > j ? k + shift - j : 0;
      const double* v = reflectors + static_cast<size_t>(k) * ld + from;
      if (first == 0 && count == 4) {
        reflectRows<4>(rows + from, ld, v, tau[k], ld - from);
        continue;
      }
      for (int r = first; r < count; r++) {
        reflectRows<1>(rows + static_cast<size_t>(r) * ld + from, ld, v, tau[k], ld - from);
      }
    }
  }
}

// c f + s g = r, c g - s f = 0
static inline double givens(double f, double g, double* c, double* s) {
  if (g == 0) {
    *c = 1;
    *s = 0;
    return f;
  }
  const double square = f * f + g * g;
  if (square < 1e-280) {
    const double r = hypot(f, g);
    *c = f / r;
    *s = g / r;
    return r;
  }
  // Division and root side by side: steps of QR wait for each other.
  const double r = sqrt(square), inverse = r * (1.0 / square);
  *c = f * inverse;
  *s = g * inverse;
  return r;
}

// Diagonalises the upper bidiagonal (d, e), rotating rows of ut and vt along. Returns whether it converged.
static bool diagonalise(const FullWork& f, int m, int n) {
  const int ldm = padded(m), ldn = padded(n);
  double *s = f.d, *e = f.e;
  auto u = [&](int j) { return f.ut + static_cast<size_t>(j) * ldm; };
  auto v = [&](int j) { return f.vt + static_cast<size_t>(j) * ldn; };
  const double eps = 2.220446049250313e-16;
  double norm = 0;
  for (int i = 0; i < n; i++) {
    if (fabs(s[i]) > norm) {
      norm = fabs(s[i]);
    }
    if (fabs(e[i]) > norm) {
      norm = fabs(e[i]);
    }
  }
  const double tiny = 0.25 * eps * norm;
  int p = n, iterations = 0;
  bool converged = true;
  while (p > 0) {
    // e[k] is the last negligible one above the block that ends at p - 1.
    int k = p - 2;
    for (; k >= 0; k--) {
      if (fabs(e[k]) <= tiny + eps * (fabs(s[k]) + fabs(s[k + 1]))) {
        e[k] = 0;
        break;
      }
    }
    if (k == p - 2) {
      if (s[p - 1] < 0) {
        s[p - 1] = -s[p - 1];
        for (int i = 0; i < ldn; i++) {
          v(p - 1)[i] = -v(p - 1)[i];
        }
      }
      p--;
      iterations = 0;
      continue;
    }
    int zero = p - 1;
    for (; zero > k; zero--) {
      if (fabs(s[zero]) <= tiny) {
        s[zero] = 0;
        break;
      }
    }
    if (zero == p - 1) {
      // Zero at the end of the diagonal: chase e[p-2] up and out.
      double g = e[p - 2];
      e[p - 2] = 0;
      for (int j = p - 2; j > k; j--) {
        double c, sn;
        s[j] = givens(s[j], g, &c, &sn);
        if (j > k + 1) {
          g = -sn * e[j - 1];
          e[j - 1] *= c;
        }
        rotate(v(j), v(p - 1), ldn, c, sn);
      }
      continue;
    }
    if (zero > k) {
      // Zero inside: chase e[zero] right and out, which splits the block.
      double g = e[zero];
      e[zero] = 0;
      for (int j = zero + 1; j < p; j++) {
        double c, sn;
        s[j] = givens(s[j], g, &c, &sn);
        g = -sn * e[j];
        e[j] *= c;
        rotate(u(j), u(zero), ldm, c, sn);
      }
      continue;
    }
    if (++iterations > 100) {
      converged = false;
      e[p - 2] = 0;
      iterations = 0;
      continue;
    }
    // One QR step with the shift of the trailing 2 x 2 block.
    k++;
    double scale = fabs(s[p - 1]);
    const double candidates[] = {fabs(s[p - 2]), fabs(e[p - 2]), fabs(s[k]), fabs(e[k])};
    for (double candidate : candidates) {
      if (candidate > scale) {
        scale = candidate;
      }
    }
    const double sp = s[p - 1] / scale, spm1 = s[p - 2] / scale, epm1 = e[p - 2] / scale;
    const double sk = s[k] / scale, ek = e[k] / scale;
    const double b = ((spm1 + sp) * (spm1 - sp) + epm1 * epm1) / 2.0, c2 = (sp * epm1) * (sp * epm1);
    double shift = 0;
    if (b != 0 || c2 != 0) {
      shift = sqrt(b * b + c2);
      if (b < 0) {
        shift = -shift;
      }
      shift = c2 / (b + shift);
    }
    double x = (sk + sp) * (sk - sp) + shift, y = sk * ek;
    int count = 0;
    for (int j = k; j < p - 1; j++, count++) {
      double c, sn;
      double r = givens(x, y, &c, &sn);
      if (j != k) {
        e[j - 1] = r;
      }
      x = c * s[j] + sn * e[j];
      e[j] = c * e[j] - sn * s[j];
      y = sn * s[j + 1];
      s[j + 1] = c * s[j + 1];
      f.cosV[count] = c;
      f.sinV[count] = sn;
      r = givens(x, y, &c, &sn);
      s[j] = r;
      x = c * e[j] + sn * s[j + 1];
      s[j + 1] = -sn * e[j] + c * s[j + 1];
      if (j + 1 < p - 1) {
        y = sn * e[j + 1];
        e[j + 1] = c * e[j + 1];
      }
      f.cosU[count] = c;
      f.sinU[count] = sn;
    }
    e[p - 2] = x;
    rotateRows(v(k), ldn, ldn, count, f.cosV, f.sinV);
    rotateRows(u(k), ldm, ldm, count, f.cosU, f.sinU);
  }
  return converged;
}

// order[0 .. n): indices of d from the largest down, equal ones as they stand.
static void descending(const double* d, int n, int* order) {
  for (int i = 0; i < n; i++) {
    int at = i;
    for (; at > 0 && d[order[at - 1]] < d[i]; at--) {
      order[at] = order[at - 1];
    }
    order[at] = i;
  }
}

// Everything, from f.a; d, ut, vt come back unsorted, d >= 0.
static bool decomposeFull(const FullWork& f, int m, int n) {
  bidiagonalise(f, m, n);
  accumulateReflections(f.left, f.tauLeft, n, padded(m), 0, f.ut);
  accumulateReflections(f.right, f.tauRight, n, padded(n), 1, f.vt);
  return diagonalise(f, m, n);
}

}  // namespace
}  // namespace qkspace
