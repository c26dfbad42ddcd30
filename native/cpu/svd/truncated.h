// Leading singular triplets of an m x n matrix, m >= n, by randomised block subspace iteration with
// Rayleigh-Ritz (Halko, Martinsson and Tropp 2011). Work is in proportion to the rank.
//
//   Q = orth(Y);  A^T Q = V S W^T (n x b, small);  U = Q W;  next Y = A V
//
// so that U^T A = S V^T exactly, ||A - U S V^T||_F^2 = ||A||_F^2 - sum S^2, and every sum of leading S^2 is
// a lower bound of the true one. ||A||_F^2 is known, so the rank that reaches a fraction of it is certain
// once (a) the S^2 up to r reach it, (b) those up to r - 1 miss it by more than the residuals
// ||A v_i - s_i u_i||^2 could add, and (c) the block is wider than r. It grows until then. Returns -1,
// leaving A alone, where the full decomposition is the better way: the block would pass a third of n, the
// residuals shrink too slowly (no gap behind the rank), or the threshold is too close to call.
//
// Precision. The iteration starts in f32, twice as many numbers to a vector and half the bytes: it only has
// to point Y in the right direction, and what rounding leaves is damped by two products in f64, from which
// all results come.
#pragma once

#include "cpu/svd/full.h"
#include "cpu/svd/panel.h"
#include "cpu/svd/task.h"
#include "cpu/svd/vector.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

struct TruncatedWork {
  double *y, *z, *u, *v, *q;  // panels, [max(m, n), ld]
  float *fx, *fy;             // panels
  double *g, *t, *turn;       // [b, ld]
  float* ft;                  // [b, ld]
  double* full;               // FullWork of n x b
  int* order;
};

// Steps A^T A in f32 before the first small problem.
constexpr int kPlainSteps = 2;

// A column of which less than this is left by the others (squared) is taken to depend on them.
constexpr double kLeastPivot = 1e-12;

// Residuals (squared, of the energy) below which the triplets are taken: 3e-7 of the matrix in norm.
constexpr double kSettled = 1e-13;

static int widestBlock(int n) { return n / 3 / W * W; }

static size_t truncatedDoubles(int m, int n) {
  const size_t b = static_cast<size_t>(widestBlock(n)), rows = static_cast<size_t>(padded(m));
  if (b == 0) {
    return 0;
  }
  return 6 * b * rows + 4 * b * b + fullWorkDoubles(n, static_cast<int>(b)) + b + 64;
}

static TruncatedWork carveTruncated(double* p, int m, int n) {
  const size_t b = static_cast<size_t>(widestBlock(n)), size = b * static_cast<size_t>(padded(m));
  TruncatedWork w;
  double** panels[] = {&w.y, &w.z, &w.u, &w.v, &w.q};
  for (double** panel : panels) {
    *panel = p;
    p += size;
  }
  w.fx = reinterpret_cast<float*>(p);
  w.fy = w.fx + size;
  p += size;
  double** squares[] = {&w.g, &w.t, &w.turn};
  for (double** square : squares) {
    *square = p;
    p += b * b;
  }
  w.ft = reinterpret_cast<float*>(p);
  p += b * b;
  w.order = reinterpret_cast<int*>(p);
  p += b;
  w.full = p;
  return w;
}

// splitmix64, uniform in [-1, 1)
static inline double nextRandom(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>(static_cast<int64_t>(z ^ (z >> 31))) * 1.0842021724855044e-19;
}

static inline const double* inverseFactor(const TruncatedWork& w, int, double) { return w.t; }
static inline const float* inverseFactor(const TruncatedWork& w, int ld, float) {
  for (int i = 0; i < ld * ld; i++) {
    w.ft[i] = static_cast<float>(w.t[i]);
  }
  return w.ft;
}

// One pass of Cholesky-QR: to [rows, ld] = from w.g^-1, w.g the triangular factor of the columns of `from`.
// Columns that depend on others become zero; how many do not is returned.
template <typename T>
static int choleskyPass(const T* from, int rows, int ld, const TruncatedWork& w, T* to) {
  gram(from, rows, ld, ld, w.g);
  const int kept = cholesky(w.g, ld, ld, kLeastPivot);
  invertUpper(w.g, ld, ld, w.t);
  panelProduct(from, ld, 1, rows, ld, inverseFactor(w, ld, T(0)), to, ld);
  return kept;
}

template <typename T>
static inline void swapPanels(T** a, T** b) {
  T* kept = *a;
  *a = *b;
  *b = kept;
}

// x [rows, ld] becomes orthonormal; y is room for as much. Columns that depend on others are replaced by
// random ones, so that ld <= rows columns always end orthonormal.
static void orthonormalise(double** x, double** y, int rows, int ld, const TruncatedWork& w, uint64_t* random) {
  for (int pass = 0, clean = 0; clean < 2 && pass < 6; pass++) {
    const int kept = choleskyPass(*x, rows, ld, w, *y);
    swapPanels(x, y);
    clean = kept == ld ? clean + 1 : 0;
    if (kept == ld) {
      continue;
    }
    for (int j = 0; j < ld; j++) {
      if (w.g[static_cast<size_t>(j) * ld + j] != 0) {
        continue;
      }
      for (int i = 0; i < rows; i++) {
        (*x)[static_cast<size_t>(i) * ld + j] = nextRandom(random);
      }
    }
  }
}

// z [rows, ld] = q r, q orthonormal and r upper triangular, by two passes of Cholesky-QR. False when columns
// depend on each other so far that r would not be theirs.
static bool triangularFactor(const double* z, int rows, int ld, const TruncatedWork& w, double* room, double* q,
                             double* r) {
  const size_t size = static_cast<size_t>(ld) * ld * sizeof(double);
  if (choleskyPass(z, rows, ld, w, room) < ld) {
    return false;
  }
  memcpy(r, w.g, size);
  if (choleskyPass(room, rows, ld, w, q) < ld) {
    return false;
  }
  panelProduct(w.g, ld, 1, ld, ld, r, room, ld);
  memcpy(r, room, size);
  return true;
}

// z [rows, ld] = V S W^T: v [rows, ld], s and w.turn = W [ld, ld], columns in descending order of s. `q` and
// `room` are panels. The triangular factor is decomposed in place of z where it is safe to.
static bool smallProblem(const double* z, int rows, int ld, const TruncatedWork& w, double* q, double* room, double* v,
                         double* s) {
  const FullWork f = carveFull(w.full, rows, ld);
  const bool reduced = triangularFactor(z, rows, ld, w, room, q, f.a);
  const int inner = reduced ? ld : rows, ldi = padded(inner);
  if (!reduced) {
    memcpy(f.a, z, static_cast<size_t>(rows) * ld * sizeof(double));
  }
  if (!decomposeFull(f, inner, ld)) {
    return false;
  }
  descending(f.d, ld, w.order);
  double* turned = reduced ? w.t : v;
  for (int j = 0; j < ld; j++) {
    const double* left = f.ut + static_cast<size_t>(w.order[j]) * ldi;
    const double* right = f.vt + static_cast<size_t>(w.order[j]) * ld;
    s[j] = f.d[w.order[j]];
    for (int i = 0; i < inner; i++) {
      turned[static_cast<size_t>(i) * ld + j] = left[i];
    }
    for (int i = 0; i < ld; i++) {
      w.turn[static_cast<size_t>(i) * ld + j] = right[i];
    }
  }
  if (reduced) {
    panelProduct(q, ld, 1, rows, ld, w.t, v, ld);
  }
  return true;
}

// The rank asked for, as far as s [b] can tell: 0 = wider block needed.
static int wantedRank(const SvdTask& t, const double* s, int b, int n, double total) {
  if (t.mode == QKS_SVD_RANK) {
    return smaller(t.rank, n);
  }
  double sum = 0;
  for (int i = 0; i < b; i++) {
    sum += s[i] * s[i];
    if (sum >= t.energy * total || i + 1 == t.maxRank) {
      return i + 1;
    }
  }
  return 0;
}

// sum over the first r columns of ||y_j - s_j u_j||^2
static double residualOf(const double* y, const double* u, const double* s, int rows, int ld, int r) {
  double residual = 0;
  for (int j = 0; j < r; j += D) {
    const VD factor = dset(-1.0);
    const VD scale = dload(s + j);
    VD sum = dset(0.0);
    for (int i = 0; i < rows; i++) {
      const size_t at = static_cast<size_t>(i) * ld + j;
      const VD left = dmadd(factor, dmul(scale, dload(u + at)), dload(y + at));
      sum = dmadd(left, left, sum);
    }
    double lanes[D];
    dstore(lanes, sum);
    for (int n = 0; n < D && j + n < r; n++) {
      residual += lanes[n];
    }
  }
  return residual;
}

// A found decomposition of b columns: u [m, b] and v [n, b], row-major; s is the caller's.
struct Triplets {
  const double *u, *v;
  int ld;
};

// Returns the rank found, or -1. `a` is [m, ldn], `single` the same in f32.
static int truncatedSvd(const SvdTask& t, const double* a, const float* single, int m, int n, double total,
                        const TruncatedWork& work, double* s, Triplets* out) {
  const int ldn = padded(n), widest = widestBlock(n);
  int b = 16;
  if (t.mode == QKS_SVD_RANK) {
    b = smaller(t.rank, n) + 4 + smaller(t.rank, n) / 4;
  }
  b = panelWidth(b < 8 ? 8 : b);
  if (n < 48 || b > widest || !(total > 0)) {
    return -1;
  }

  TruncatedWork w = work;
  uint64_t random = t.seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull;
  for (int i = 0; i < n * b; i++) {
    w.fx[i] = static_cast<float>(nextRandom(&random));
  }
  bool plain = true;  // fx holds a start
  double residualBefore = 1e300;
  for (int round = 0, slow = 0; round < 10; round++) {
    if (plain) {
      for (int step = 0; step < kPlainSteps; step++) {
        if (step > 0) {
          choleskyPass(w.fx, n, b, w, w.fy);
          swapPanels(&w.fx, &w.fy);
        }
        panelProduct(single, ldn, 1, m, n, w.fx, w.fy, b);
        choleskyPass(w.fy, m, b, w, w.fx);
        panelProduct(single, 1, ldn, n, m, w.fx, w.fy, b);
        swapPanels(&w.fx, &w.fy);
      }
      for (int i = 0; i < n * b; i++) {
        w.z[i] = static_cast<double>(w.fx[i]);
      }
      panelProduct(a, ldn, 1, m, n, w.z, w.y, b);
      plain = false;
    }
    orthonormalise(&w.y, &w.z, m, b, w, &random);
    panelProduct(a, 1, ldn, n, m, w.y, w.z, b);
    if (!smallProblem(w.z, n, b, w, w.q, w.u, w.v, s)) {
      return -1;
    }
    double captured = 0;
    for (int i = 0; i < b; i++) {
      captured += s[i] * s[i];
    }

    const int r = wantedRank(t, s, b, n, total);
    const int spare = 4 > r / 4 ? 4 : r / 4;
    if (r == 0 || r + spare > b) {
      // A column more can add no more than about the weaker ones here did.
      const double each = s[3 * b / 4] * s[3 * b / 4];
      const int affordable = n / 3 - b;
      if (r == 0 && (t.energy * total - captured) > each * affordable) {
        return -1;
      }
      const int next = panelWidth(2 * b);
      if (next > widest) {
        return -1;
      }
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < next; j++) {
          w.fx[static_cast<size_t>(i) * next + j] =
              static_cast<float>(j < b ? w.v[static_cast<size_t>(i) * b + j] : nextRandom(&random));
        }
      }
      b = next;
      plain = true;
      residualBefore = 1e300;
      continue;
    }

    panelProduct(w.y, b, 1, m, b, w.turn, w.u, b);
    panelProduct(a, ldn, 1, m, n, w.v, w.y, b);
    const double residual = residualOf(w.y, w.u, s, m, b, r);
    if (residual <= kSettled * total) {
      *out = {w.u, w.v, b};
      if (t.mode == QKS_SVD_RANK) {
        return r;
      }
      double below = 0, reached = 0;
      for (int i = 0; i < r; i++) {
        if (i < r - 1) {
          below += s[i] * s[i];
        }
        reached += s[i] * s[i];
      }
      const double doubt = 100 * residual + 1e-13 * total, goal = t.energy * total;
      const bool capped = r == t.maxRank;
      const bool aboveGoal = reached >= goal + doubt, belowGoal = reached + doubt < goal;
      if ((aboveGoal && below + doubt < goal) || (capped && belowGoal)) {
        return r;
      }
      if (residual <= 1e-17 * total) {
        return -1;
      }
    }
    // Residuals (squared) must shrink by 30 a round, or the full decomposition is cheaper.
    if (residual > residualBefore / 30 && ++slow >= 2) {
      return -1;
    }
    residualBefore = residual;
  }
  return -1;
}

}  // namespace
}  // namespace qkspace
