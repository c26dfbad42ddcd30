// Leading singular triplets of an m x n matrix, m >= n, by randomised block subspace iteration with
// Rayleigh-Ritz (Halko, Martinsson and Tropp 2011), f64. Work is in proportion to the rank.
//
//   Q = orth(A X);  A^T Q = V S W^T (small, full);  U = Q W;  next X = V
//
// so that U^T A = S V^T exactly, ||A - U S V^T||_F^2 = ||A||_F^2 - sum S^2, and every sum of leading S^2 is
// a lower bound of the true one. ||A||_F^2 is known, so the rank that reaches a fraction of it is certain
// once (a) the S^2 up to r reach it, (b) those up to r - 1 miss it by more than the residuals
// ||A v_i - s_i u_i||^2 could add, and (c) the block is wider than r. It grows until then. Returns -1,
// leaving A alone, where the full decomposition is the better way: the block would pass a third of n, the
// residuals shrink too slowly (no gap behind the rank), or the threshold is too close to call.
//
// Layout. X, Y [rows, ldb] are tall and row-major, so that a product with A broadcasts entries of A against
// whole rows; orthogonalisation works on their transposes.

struct TruncatedWork {
  double *x, *y;   // tall, [max(m, n), ldb]
  double *q;       // rows [b, ldm]
  double *t;       // rows [b, ldm]
  double *u;       // rows [b, ldm]
  double *full;    // FullWork of n x b
  int *order;
};

constexpr int kPlainSteps = 2;

static int widestBlock(int n) { return n / 3 / D * D; }

static size_t truncatedDoubles(int m, int n) {
  const size_t b = static_cast<size_t>(padded(widestBlock(n))), ldm = static_cast<size_t>(padded(m));
  if (b == 0) return 0;
  return 5 * b * ldm + fullWorkDoubles(n, static_cast<int>(b)) + b + 64;
}

static TruncatedWork carveTruncated(double* p, int m, int n) {
  const size_t size = static_cast<size_t>(padded(widestBlock(n))) * static_cast<size_t>(padded(m));
  TruncatedWork w;
  double** parts[] = {&w.x, &w.y, &w.q, &w.t, &w.u};
  for (double** part : parts) {
    *part = p;
    p += size;
  }
  w.order = reinterpret_cast<int*>(p);
  w.full = p + padded(widestBlock(n));
  return w;
}

// R rows of y (stride ldb) = a x over `inner`, N vectors of columns; a's entries at step (row, inner).
template <int R, int N>
static inline void tallBlock(const double* a, int rowStep, int innerStep, int inner, const double* x, double* y,
                             int ldb) {
  VD sum[R][N];
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) sum[r][n] = dset(0.0);
  for (int k = 0; k < inner; k++, a += innerStep, x += ldb) {
    VD right[N];
    for (int n = 0; n < N; n++) right[n] = dload(x + n * D);
    for (int r = 0; r < R; r++) {
      const VD left = dset(a[r * rowStep]);
      for (int n = 0; n < N; n++) sum[r][n] = dmadd(left, right[n], sum[r][n]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) dstore(y + static_cast<size_t>(r) * ldb + n * D, sum[r][n]);
}

template <int N>
static void tallColumns(const double* a, int rowStep, int innerStep, int rows, int inner, const double* x, double* y,
                        int ldb) {
  int i = 0;
  for (; i + 4 <= rows; i += 4)
    tallBlock<4, N>(a + static_cast<size_t>(i) * rowStep, rowStep, innerStep, inner, x,
                    y + static_cast<size_t>(i) * ldb, ldb);
  for (; i < rows; i++)
    tallBlock<1, N>(a + static_cast<size_t>(i) * rowStep, rowStep, innerStep, inner, x,
                    y + static_cast<size_t>(i) * ldb, ldb);
}

// y [rows, ldb] = op(a) x [inner, ldb]
static void tallProduct(const double* a, int rowStep, int innerStep, int rows, int inner, const double* x, double* y,
                        int ldb) {
  int j = 0;
  for (; j + 2 * D <= ldb; j += 2 * D) tallColumns<2>(a, rowStep, innerStep, rows, inner, x + j, y + j, ldb);
  for (; j < ldb; j += D) tallColumns<1>(a, rowStep, innerStep, rows, inner, x + j, y + j, ldb);
}

static void tallToRows(const double* tall, int ldb, int b, int length, double* rows, int ld) {
  for (int j = 0; j < b; j++) {
    double* to = rows + static_cast<size_t>(j) * ld;
    for (int i = 0; i < length; i++) to[i] = tall[static_cast<size_t>(i) * ldb + j];
    for (int i = length; i < ld; i++) to[i] = 0;
  }
}

static void rowToTall(const double* row, int j, int ldb, int length, double* tall) {
  for (int i = 0; i < length; i++) tall[static_cast<size_t>(i) * ldb + j] = row[i];
}

// splitmix64, uniform in [-1, 1)
static inline double nextRandom(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>(static_cast<int64_t>(z ^ (z >> 31))) * 1.0842021724855044e-19;
}

// Gram-Schmidt, each row twice or until nothing more comes off (once where only the span matters); a row that vanishes is replaced by a random
// one, so that b <= length rows always end orthonormal.
static void orthonormaliseRows(double* rows, int b, int length, int ld, uint64_t* random, int passes = 2) {
  for (int j = 0; j < b; j++) {
    double* row = rows + static_cast<size_t>(j) * ld;
    double before = sqrt(dot(row, row, ld));
    for (int pass = 0, replaced = 0; pass < 5;) {
      for (int i = 0; i < j; i++) {
        const double* other = rows + static_cast<size_t>(i) * ld;
        axpy(-dot(other, row, ld), other, row, ld);
      }
      const double after = sqrt(dot(row, row, ld));
      if (!(after > 1e-13 * before) || after < 1e-140) {
        if (++replaced > 8) break;
        for (int i = 0; i < length; i++) row[i] = nextRandom(random);
        before = sqrt(dot(row, row, ld));
        pass = 0;
        continue;
      }
      const VD scale = dset(1.0 / after);
      for (int i = 0; i < ld; i += D) dstore(row + i, dmul(dload(row + i), scale));
      if (++pass >= passes && (passes == 1 || after > 0.7 * before)) break;
      before = 1;
    }
  }
}

// The rank asked for, as far as s [b] can tell: 0 = wider block needed.
static int wantedRank(const SvdTask& t, const double* s, int b, int n, double total) {
  if (t.mode == QKS_SVD_RANK) return smaller(t.rank, n);
  double sum = 0;
  for (int i = 0; i < b; i++) {
    sum += s[i] * s[i];
    if (sum >= t.energy * total || i + 1 == t.maxRank) return i + 1;
  }
  return 0;
}

// Returns the rank found, with s and the rows of w.u (left) and ut of the inner FullWork (right, through
// w.order) holding the triplets; or -1.
static int truncatedSvd(const SvdTask& t, const double* a, int m, int n, double total, const TruncatedWork& w,
                        double* s, const double** right) {
  const int ldm = padded(m), ldn = padded(n), widest = widestBlock(n);
  int b = 16;
  if (t.mode == QKS_SVD_RANK) b = padded(smaller(t.rank, n) + 4 + smaller(t.rank, n) / 4);
  if (b < 8) b = 8;
  b = padded(b);
  if (n < 48 || b > widest || !(total > 0)) return -1;

  uint64_t random = t.seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull;
  for (int i = 0; i < n * b; i++) w.x[i] = nextRandom(&random);
  int have = b;  // columns of x that are set
  bool multiplied = false;  // y = A x is there already
  double residualBefore = 1e300;
  for (int round = 0, slow = 0; round < 10; round++) {
    const int ldb = b;
    // Steps of plain iteration first: nothing can have converged yet.
    for (int step = 0; round == 0 && step < kPlainSteps; step++) {
      tallProduct(a, ldn, 1, m, n, w.x, w.y, ldb);
      tallToRows(w.y, ldb, b, m, w.q, ldm);
      orthonormaliseRows(w.q, b, m, ldm, &random, 1);
      for (int j = 0; j < b; j++) rowToTall(w.q + static_cast<size_t>(j) * ldm, j, ldb, m, w.y);
      tallProduct(a, 1, ldn, n, m, w.y, w.x, ldb);
    }
    if (!multiplied) tallProduct(a, ldn, 1, m, n, w.x, w.y, ldb);
    multiplied = false;
    tallToRows(w.y, ldb, b, m, w.q, ldm);
    orthonormaliseRows(w.q, b, m, ldm, &random);
    for (int j = 0; j < b; j++) rowToTall(w.q + static_cast<size_t>(j) * ldm, j, ldb, m, w.y);

    const FullWork f = carveFull(w.full, n, b);
    tallProduct(a, 1, ldn, n, m, w.y, f.a, ldb);
    if (!decomposeFull(f, n, b)) return -1;
    for (int i = 0; i < b; i++) {
      int at = i;
      for (; at > 0 && f.d[w.order[at - 1]] < f.d[i]; at--) w.order[at] = w.order[at - 1];
      w.order[at] = i;
    }
    double captured = 0;
    for (int i = 0; i < b; i++) {
      s[i] = f.d[w.order[i]];
      captured += s[i] * s[i];
    }
    *right = f.ut;
    have = b;

    const int r = wantedRank(t, s, b, n, total);
    const int spare = 4 > r / 4 ? 4 : r / 4;
    if (r == 0 || r + spare > b) {
      // A column more can add no more than about the weaker ones here did.
      const double each = s[3 * b / 4] * s[3 * b / 4];
      if (r == 0 && (t.energy * total - captured) > each * (n / 3 - b)) return -1;
      const int next = padded(2 * b);
      if (next > widest) return -1;
      for (int j = 0; j < have; j++)
        rowToTall(f.ut + static_cast<size_t>(w.order[j]) * ldn, j, next, n, w.x);
      for (int j = have; j < next; j++)
        for (int i = 0; i < n; i++) w.x[static_cast<size_t>(i) * next + j] = nextRandom(&random);
      b = next;
      multiplied = false;
      residualBefore = 1e300;
      continue;
    }

    for (int j = 0; j < b; j++) rowToTall(f.ut + static_cast<size_t>(w.order[j]) * ldn, j, ldb, n, w.x);
    tallProduct(a, ldn, 1, m, n, w.x, w.y, ldb);
    multiplied = true;
    tallToRows(w.y, ldb, b, m, w.t, ldm);
    double residual = 0;
    for (int i = 0; i < r; i++) {
      double* u = w.u + static_cast<size_t>(i) * ldm;
      const double* turn = f.vt + static_cast<size_t>(w.order[i]) * padded(b);
      vectorTimesRows(turn, w.q, ldm, b, u, ldm);
      double* left = w.t + static_cast<size_t>(i) * ldm;
      axpy(-s[i], u, left, ldm);
      residual += dot(left, left, ldm);
    }
    if (residual <= 1e-14 * total) {
      if (t.mode == QKS_SVD_RANK) return r;
      double below = 0, reached = 0;
      for (int i = 0; i < r; i++) {
        if (i < r - 1) below += s[i] * s[i];
        reached += s[i] * s[i];
      }
      const double doubt = 100 * residual + 1e-13 * total, goal = t.energy * total;
      const bool capped = r == t.maxRank;
      const bool aboveGoal = reached >= goal + doubt, belowGoal = reached + doubt < goal;
      if ((aboveGoal && below + doubt < goal) || (capped && belowGoal)) return r;
      if (residual <= 1e-17 * total) return -1;
    }
    // Residuals (squared) must shrink by 30 a round, or the full decomposition is cheaper.
    if (residual > residualBefore / 30 && ++slow >= 2) return -1;
    residualBefore = residual;
  }
  return -1;
}
