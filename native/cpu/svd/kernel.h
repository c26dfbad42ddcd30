// Truncated singular value decomposition of one matrix: scale, decompose, choose the rank, order, sign.
//
// The matrix is scaled by a power of two so that its largest magnitude is in [1/2, 1), which is exact, and
// worked on in f64: entries of 1e-30 or 1e30 and f32 subnormals need no care after that.
#pragma once

#include "cpu/memory/align.h"
#include "cpu/svd/full.h"
#include "cpu/svd/panel.h"
#include "cpu/svd/task.h"
#include "cpu/svd/truncated.h"
#include "cpu/svd/vector.h"
#include "cpu/vectors/current.h"
#include "cpu/vectors/half.h"
#include "cpu/vectors/largest.h"

namespace qkspace {
namespace {

struct SvdLayout {
  size_t full, single, truncated, ut, s, vt, order, bytes;  // byte offsets
};

static SvdLayout svdLayout(int rows, int cols) {
  const int m = rows > cols ? rows : cols, n = smaller(rows, cols);
  const size_t k = static_cast<size_t>(n), b = sizeof(double);
  SvdLayout l;
  size_t at = 0;
  l.full = at;
  at = alignUp(at + fullWorkDoubles(m, n) * b);
  l.single = at;
  at = alignUp(at + static_cast<size_t>(m) * static_cast<size_t>(padded(n)) * sizeof(float));
  l.truncated = at;
  at = alignUp(at + truncatedDoubles(m, n) * b);
  l.ut = at;
  at = alignUp(at + k * static_cast<size_t>(rows) * b);
  l.s = at;
  at = alignUp(at + static_cast<size_t>(panelWidth(n)) * b);
  l.vt = at;
  at = alignUp(at + k * static_cast<size_t>(cols) * b);
  l.order = at;
  at = alignUp(at + k * sizeof(int));
  l.bytes = at;
  return l;
}

static size_t svdScratch(int32_t rows, int32_t cols) { return svdLayout(rows, cols).bytes; }

// Largest magnitude of an f32 matrix; infinity or NaN when it has such an entry.
static double largestOf(const float* x, size_t count) {
  VF most = fset(0.0f);
  size_t i = 0;
  for (; i + W <= count; i += W) {
    most = fmost(most, fload(x + i));
  }
  uint32_t bits = largestBits(most);
  for (; i < count; i++) {
    const uint32_t own = floatToBits(x[i]) & 0x7fffffffu;
    bits = own > bits ? own : bits;
  }
  return static_cast<double>(bitsToFloat(bits));
}

// to [m, ldn] = factor * x [m, n], the padding of `to` left alone; the sum of squares is returned.
static double scaleRows(const float* x, int m, int n, double factor, double* to, int ldn) {
  const VD scale = dset(factor);
  VD low = dset(0.0), high = dset(0.0);
  double rest = 0;
  for (int i = 0; i < m; i++, x += n, to += ldn) {
    int j = 0;
    for (; j + W <= n; j += W) {
      const VF row = fload(x + j);
      const VD a = dmul(widenLow(row), scale), b = dmul(widenHigh(row), scale);
      dstore(to + j, a);
      dstore(to + j + W / 2, b);
      low = dmadd(a, a, low);
      high = dmadd(b, b, high);
    }
    for (; j < n; j++) {
      to[j] = static_cast<double>(x[j]) * factor;
      rest += to[j] * to[j];
    }
  }
  return dsum(dadd(low, high)) + rest;
}

static void narrowRows(const double* from, size_t count, float* to) {
  size_t i = 0;
  for (; i + W <= count; i += W) {
    fstore(to + i, narrow(dload(from + i), dload(from + i + D)));
  }
  for (; i < count; i++) {
    to[i] = static_cast<float>(from[i]);
  }
}

static inline double matrixEntry(const SvdTask& t, size_t i) {
  return t.dtype == QKS_F32 ? static_cast<double>(static_cast<const float*>(t.matrix)[i])
                            : static_cast<const double*>(t.matrix)[i];
}

// Smallest r whose squares reach `energy` of all of them; s descends.
static int rankByEnergy(const double* s, int n, double energy) {
  double total = 0, sum = 0;
  for (int i = 0; i < n; i++) {
    total += s[i] * s[i];
  }
  if (total == 0) {
    return 0;
  }
  for (int i = 0; i < n; i++) {
    sum += s[i] * s[i];
    if (sum >= energy * total) {
      return i + 1;
    }
  }
  return n;
}

// The entry of largest magnitude of u becomes positive, the first such entry on a tie.
static void fixSign(double* u, int rows, double* v, int cols) {
  int at = 0;
  for (int i = 1; i < rows; i++) {
    if (fabs(u[i]) > fabs(u[at])) {
      at = i;
    }
  }
  if (!(u[at] < 0)) {
    return;
  }
  for (int i = 0; i < rows; i++) {
    u[i] = -u[i];
  }
  for (int i = 0; i < cols; i++) {
    v[i] = -v[i];
  }
}

static int32_t svdMatrix(SvdTask& t) {
  const int rows = t.rows, cols = t.cols;
  const bool flip = rows < cols;
  const int m = flip ? cols : rows, n = flip ? rows : cols;
  const int ldm = padded(m), ldn = padded(n);
  const SvdLayout l = svdLayout(rows, cols);
  char* scratch = static_cast<char*>(t.scratch);
  t.ut = reinterpret_cast<double*>(scratch + l.ut);
  t.s = reinterpret_cast<double*>(scratch + l.s);
  t.vt = reinterpret_cast<double*>(scratch + l.vt);

  const size_t count = static_cast<size_t>(rows) * static_cast<size_t>(cols);
  const bool f32 = t.dtype == QKS_F32;
  double most = f32 ? largestOf(static_cast<const float*>(t.matrix), count) : 0.0;
  bool finite = most <= 1.7976931348623157e308;
  for (size_t i = 0; !f32 && i < count; i++) {
    const double x = fabs(matrixEntry(t, i));
    if (!(x <= 1.7976931348623157e308)) {
      finite = false;
    }
    if (x > most) {
      most = x;
    }
  }
  if (!finite) {
    return QKS_E_NON_FINITE;
  }
  int exponent = 0;
  if (most > 0) {
    frexp(most, &exponent);
  }

  const FullWork f = carveFull(reinterpret_cast<double*>(scratch + l.full), m, n);
  if (ldn != n) {
    memset(f.a, 0, static_cast<size_t>(m) * ldn * sizeof(double));
  }
  double total = 0;
  // In two factors: 2^-exponent alone may overflow.
  const double half = ldexp(1.0, -exponent / 2), rest = ldexp(1.0, -exponent - -exponent / 2);
  if (f32 && !flip) {
    total = scaleRows(static_cast<const float*>(t.matrix), m, n, half * rest, f.a, ldn);
  }
  for (int i = 0; (!f32 || flip) && i < rows; i++) {
    for (int j = 0; j < cols; j++) {
      const double x = matrixEntry(t, static_cast<size_t>(i) * cols + j) * half * rest;
      f.a[flip ? static_cast<size_t>(j) * ldn + i : static_cast<size_t>(i) * ldn + j] = x;
      total += x * x;
    }
  }

  t.totalEnergy = ldexp(ldexp(total, exponent), exponent);
  const double eps = 2.220446049250313e-16, slack = 8 * eps * m;
  int* order = reinterpret_cast<int*>(scratch + l.order);
  Triplets triplets{};
  int found = -1;
  if (t.mode != QKS_SVD_FULL && widestBlock(n) > 0) {
    const TruncatedWork w = carveTruncated(reinterpret_cast<double*>(scratch + l.truncated), m, n);
    float* single = reinterpret_cast<float*>(scratch + l.single);
    narrowRows(f.a, static_cast<size_t>(m) * ldn, single);
    found = truncatedSvd(t, f.a, single, m, n, total, w, t.s, &triplets);
  }
  if (found >= 0) {
    double kept = 0;
    for (int i = 0; i < found; i++) {
      kept += t.s[i] * t.s[i];
    }
    // The difference of two sums that may agree in all digits; what they may hide is added.
    t.errorBound = sqrt((total > kept ? (total - kept) / total : 0.0) + 64 * eps) + slack;
    t.converged = 1;
  } else {
    t.converged = decomposeFull(f, m, n) ? 1 : 0;
    descending(f.d, n, order);
    for (int i = 0; i < n; i++) {
      t.s[i] = f.d[order[i]];
    }
    found = n;
    if (t.mode == QKS_SVD_RANK) {
      found = smaller(t.rank, n);
    }
    if (t.mode == QKS_SVD_ENERGY) {
      found = rankByEnergy(t.s, n, t.energy);
      if (t.maxRank > 0) {
        found = smaller(found, t.maxRank);
      }
    }
    double rest2 = 0;
    for (int i = n - 1; i >= found; i--) {
      rest2 += t.s[i] * t.s[i];
    }
    t.errorBound = total > 0 ? sqrt(rest2 / total) + slack : 0.0;
  }
  t.found = found;
  for (int i = 0; i < found; i++) {
    double* u = t.ut + static_cast<size_t>(i) * rows;
    double* v = t.vt + static_cast<size_t>(i) * cols;
    double *left = flip ? v : u, *right = flip ? u : v;
    if (triplets.u) {
      for (int j = 0; j < m; j++) {
        left[j] = triplets.u[static_cast<size_t>(j) * triplets.ld + i];
      }
      for (int j = 0; j < n; j++) {
        right[j] = triplets.v[static_cast<size_t>(j) * triplets.ld + i];
      }
    } else {
      memcpy(left, f.ut + static_cast<size_t>(order[i]) * ldm, static_cast<size_t>(m) * sizeof(double));
      memcpy(right, f.vt + static_cast<size_t>(order[i]) * ldn, static_cast<size_t>(n) * sizeof(double));
    }
    fixSign(u, rows, v, cols);
    t.s[i] = ldexp(t.s[i], exponent);
  }
  return QKS_OK;
}

}  // namespace
}  // namespace qkspace
