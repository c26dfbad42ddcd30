// Fused covariance accumulation of a few heads. Included inside the namespace of an instruction set, which
// defines VF (W floats), VD (W/2 doubles), MR and their operations.
//
//   qk[side] += sum_t q_t kbar_t^T,   kbar_t = scale_t * sum_j a_j k_j   (scale as the estimator says)
//   q[side]  += sum_t u_t q_t,        k[side] += sum_t kbar_t
//
// Layout. Rows are gathered straight from the strided tensors into a tile of up to kTile terms, kept as
// panels: MR query columns (or 2W key columns) of all terms lie together, so that the product reads both
// operands front to back. Panels are padded by 16 floats, or they would share cache sets. Rows
// are fetched into the first cache a few terms before they are packed; fetched earlier, they push the panels
// and the sums out of the second.
//
// Heads. A row holds all heads one after another, and the rows of a set are as far apart as heads * d: one
// head at a time meets a new page with every row, and every page once a head. So a few heads take each term
// in turn, with a tile each; their arithmetic is the same as alone, and so are the bits.
//
// Product. A block of MR x 2W sums stays in registers over the whole tile: one broadcast and two
// multiply-adds per query element. When positive and negative terms have the same query its tile is shared.
//
// Precision. Keys are summed in f32 over chunks of at most kChunk = 32, the chunks in f64, rounded once to
// f32 (labels: running sums in f64); tiles of at most kTile = 96 terms in f32; masters in f64. The error of
// an entry is then at most (31 + 95 + 4) * 2^-24 * sum |q||k|, for any number of rows or keys, which is below
// (128/2 + 2) * 2^-23. Key sums that leave the range of f32 are made again in f64: their mean may be inside. A
// tile whose largest magnitude is outside [2^-40, 2^40] is scaled by a power of two first, which is exact,
// so that neither 1e-30 nor 1e30 leaves the range of f32.

constexpr int kChunk = 32;  // keys of a term that are summed in f32

struct CovarianceLayout {
  int d, qPanels, kPanels, lastWidth, rowLength;
  size_t qStride, kStride;                       // floats between panels
  size_t q[2], k[2], weights;  // byte offsets in a tile
  size_t tile;                 // bytes of a tile; there is one a head, at the start
  size_t row, wide, acc, sums; // byte offsets
  size_t bytes;
};

static inline size_t alignUp(size_t x) { return (x + 63) & ~static_cast<size_t>(63); }

static CovarianceLayout covarianceLayout(const PreparedBatch& b, int heads) {
  CovarianceLayout l;
  const int d = b.headDim;
  l.d = d;
  l.qPanels = (d + MR - 1) / MR;
  l.kPanels = (d + 2 * W - 1) / (2 * W);
  l.lastWidth = d - (l.kPanels - 1) * 2 * W <= W ? W : 2 * W;
  l.rowLength = (d + 2 * W + MR) / (2 * W) * (2 * W) + 2 * W;
  l.qStride = static_cast<size_t>(kTile) * MR + 16;
  l.kStride = static_cast<size_t>(kTile) * 2 * W + 16;
  size_t at = 0;
  for (int s = 0; s < 2; s++) {
    l.q[s] = at;
    at = alignUp(at + l.qPanels * l.qStride * sizeof(float));
    l.k[s] = at;
    at = alignUp(at + l.kPanels * l.kStride * sizeof(float));
  }
  l.weights = at;
  l.tile = alignUp(at + 2 * kTile * sizeof(float));
  at = l.tile * static_cast<size_t>(heads);
  l.row = at;
  at = alignUp(at + l.rowLength * sizeof(float));
  l.wide = at;
  at = alignUp(at + static_cast<size_t>(kTile) * MR * sizeof(float));
  l.acc = at;
  at = alignUp(at + l.rowLength * sizeof(double));
  int64_t labels = 0;
  for (int64_t r = 0; r < b.runStart[b.contrasts]; r++)
    if (b.runs[r].labels > labels) labels = b.runs[r].labels;
  l.sums = at;  // one row per label, and the total
  at = alignUp(at + static_cast<size_t>(labels + 1) * l.rowLength * sizeof(double));
  l.bytes = at;
  return l;
}

static size_t covarianceScratch(const PreparedBatch& b, int heads) { return covarianceLayout(b, heads).bytes; }

// ---- reading rows ----

template <int DT>
struct Element;
template <>
struct Element<QKS_F32> {
  typedef float type;
  static inline float one(const float* p) { return *p; }
  static inline VF many(const float* p) { return fload(p); }
};
template <>
struct Element<QKS_F16> {
  typedef uint16_t type;
  static inline float one(const uint16_t* p) { return f16ToFloat(*p); }
  static inline VF many(const uint16_t* p) { return loadF16(p); }
};
template <>
struct Element<QKS_BF16> {
  typedef uint16_t type;
  static inline float one(const uint16_t* p) { return bf16ToFloat(*p); }
  static inline VF many(const uint16_t* p) { return loadBf16(p); }
};

// The largest of the lanes that fmost has gathered: magnitudes as bits, ordered like the values, NaN last.
static inline uint32_t largestBits(VF most) {
  float lanes[W];
  fstore(lanes, most);
  uint32_t largest = 0;
  for (int i = 0; i < W; i++) {
    const uint32_t bits = floatToBits(lanes[i]);
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

static inline int64_t rowOffset(const RowView& v, int64_t r) {
  if (v.linear) return r * v.posStride;
  return r / v.pos * v.batchStride + r % v.pos * v.posStride;
}

// Inlined by force: a function that only prefetches has no effect that the compiler knows of, and calls of
// it are deleted.
QKS_INLINE void prefetchRow(const RowView& v, int64_t offset, int d) {
#if defined(__GNUC__) || defined(__clang__)
  if (v.dimStride != 1) return;
  const size_t size = v.dtype == QKS_F32 ? 4 : 2;
  const char* p = static_cast<const char*>(v.data) + static_cast<size_t>(offset) * size;
  for (size_t i = 0; i < static_cast<size_t>(d) * size; i += 64) __builtin_prefetch(p + i, 0, 3);
#else
  (void)v, (void)offset, (void)d;
#endif
}

template <int DT>
static inline void loadRowAs(const RowView& v, int64_t offset, int d, float* row) {
  const typename Element<DT>::type* p = static_cast<const typename Element<DT>::type*>(v.data) + offset;
  int i = 0;
  if (v.dimStride == 1) {
    for (; i + W <= d; i += W) fstore(row + i, Element<DT>::many(p + i));
    for (; i < d; i++) row[i] = Element<DT>::one(p + i);
  } else {
    for (; i < d; i++) row[i] = Element<DT>::one(p + i * v.dimStride);
  }
}

static void loadRow(const RowView& v, int64_t offset, int d, float* row) {
  if (v.dtype == QKS_F32)
    loadRowAs<QKS_F32>(v, offset, d, row);
  else if (v.dtype == QKS_F16)
    loadRowAs<QKS_F16>(v, offset, d, row);
  else
    loadRowAs<QKS_BF16>(v, offset, d, row);
}

// acc[0 .. N*W) += sum_j a_j p[offset_j + 0 .. N*W)
template <int DT, int N>
static inline void addColumns(const typename Element<DT>::type* p, const int64_t* offsets, const float* weights,
                              int count, double* acc) {
  VD sum[N][2];
  for (int n = 0; n < N; n++) {
    sum[n][0] = dload(acc + n * W);
    sum[n][1] = dload(acc + n * W + W / 2);
  }
  for (int j = 0; j < count; j++) {
    const typename Element<DT>::type* x = p + offsets[j];
    const VD a = dset(weights ? static_cast<double>(weights[j]) : 1.0);
    for (int n = 0; n < N; n++) {
      const VF f = Element<DT>::many(x + n * W);
      sum[n][0] = dmadd(a, widenLow(f), sum[n][0]);
      sum[n][1] = dmadd(a, widenHigh(f), sum[n][1]);
    }
  }
  for (int n = 0; n < N; n++) {
    dstore(acc + n * W, sum[n][0]);
    dstore(acc + n * W + W / 2, sum[n][1]);
  }
}

// acc[0 .. N*W) += sum_j a_j p[offset_j + 0 .. N*W) as above, of at most kChunk keys, in f32
template <int DT, int N>
static inline void addChunk(const typename Element<DT>::type* p, const int64_t* offsets, const float* weights,
                            int count, double* acc) {
  VF sum[N];
  for (int n = 0; n < N; n++) sum[n] = fset(0.0f);
  for (int j = 0; j < count; j++) {
    const typename Element<DT>::type* x = p + offsets[j];
    const VF a = fset(weights ? weights[j] : 1.0f);
    for (int n = 0; n < N; n++) sum[n] = fmadd(a, Element<DT>::many(x + n * W), sum[n]);
  }
  for (int n = 0; n < N; n++) {
    double* to = acc + n * W;
    dstore(to, dadd(dload(to), widenLow(sum[n])));
    dstore(to + W / 2, dadd(dload(to + W / 2), widenHigh(sum[n])));
  }
}

template <int DT, bool EXACT>
static void addKeysAs(const RowView& v, const int64_t* offsets, const float* weights, int count, int d,
                      double* acc) {
  const typename Element<DT>::type* p = static_cast<const typename Element<DT>::type*>(v.data);
  int i = 0;
  if (v.dimStride == 1 && EXACT)
    for (; i + W <= d; i += W) addColumns<DT, 1>(p + i, offsets, weights, count, acc + i);
  if (v.dimStride == 1 && !EXACT) {
    for (; i + 8 * W <= d; i += 8 * W) addChunk<DT, 8>(p + i, offsets, weights, count, acc + i);
    for (; i + 4 * W <= d; i += 4 * W) addChunk<DT, 4>(p + i, offsets, weights, count, acc + i);
    for (; i + W <= d; i += W) addChunk<DT, 1>(p + i, offsets, weights, count, acc + i);
  }
  for (; i < d; i++) {
    double sum = acc[i];
    for (int j = 0; j < count; j++) {
      double x = static_cast<double>(Element<DT>::one(p + offsets[j] + i * v.dimStride));
      sum += weights ? static_cast<double>(weights[j]) * x : x;
    }
    acc[i] = sum;
  }
}

template <bool EXACT>
static void sumKeysInto(const RowView& v, int64_t headOffset, const int32_t* keys, const float* weights,
                        int64_t count, double scale, int d, double* acc, int rowLength, float* row) {
  memset(acc, 0, static_cast<size_t>(rowLength) * sizeof(double));
  int64_t offsets[kChunk];
  for (int64_t from = 0; from < count; from += kChunk) {
    const int part = static_cast<int>(count - from < kChunk ? count - from : kChunk);
    for (int j = 0; j < part; j++) offsets[j] = rowOffset(v, keys[from + j]) + headOffset;
    const float* w = weights ? weights + from : nullptr;
    if (v.dtype == QKS_F32)
      addKeysAs<QKS_F32, EXACT>(v, offsets, w, part, d, acc);
    else if (v.dtype == QKS_F16)
      addKeysAs<QKS_F16, EXACT>(v, offsets, w, part, d, acc);
    else
      addKeysAs<QKS_BF16, EXACT>(v, offsets, w, part, d, acc);
  }
  const VD factor = dset(scale);
  for (int i = 0; i < d; i += W)
    fstore(row + i, narrow(dmul(dload(acc + i), factor), dmul(dload(acc + i + W / 2), factor)));
  for (int i = d; i < rowLength; i++) row[i] = 0;
}

// row = scale * sum_j a_j k_j over a set of keys
static void sumKeys(const RowView& v, int64_t headOffset, const int32_t* keys, const float* weights, int64_t count,
                    double scale, int d, double* acc, int rowLength, float* row) {
  if (count == 1) {
    const double factor = weights ? scale * static_cast<double>(weights[0]) : scale;
    loadRow(v, rowOffset(v, keys[0]) + headOffset, d, row);
    if (factor != 1.0)
      for (int i = 0; i < d; i++) row[i] = static_cast<float>(static_cast<double>(row[i]) * factor);
    return;
  }
  sumKeysInto<false>(v, headOffset, keys, weights, count, scale, d, acc, rowLength, row);
  VF most = fset(0.0f);
  for (int i = 0; i < d; i += W) most = fmost(most, fload(row + i));
  if (largestBits(most) >= 0x7f800000u)
    sumKeysInto<true>(v, headOffset, keys, weights, count, scale, d, acc, rowLength, row);
}

// ---- the tile ----

struct CovarianceTile {
  const PreparedBatch* batch;
  const CovarianceLayout* layout;
  float *q[2], *k[2], *row, *weight[2], *wide;
  double* acc;
  VF qMost[2], kMost[2];  // largest magnitudes so far, lane by lane
  int count;
  bool shared;  // both sides have had the same queries
};

// Where columns [i, i + W) of the tile's next key go; i a multiple of W.
static inline float* keyAt(const CovarianceTile& t, int side, int i) {
  const CovarianceLayout& l = *t.layout;
  const int p = i / (2 * W);
  const size_t width = p < l.kPanels - 1 ? 2 * W : static_cast<size_t>(l.lastWidth);
  return t.k[side] + p * l.kStride + static_cast<size_t>(t.count) * width + i % (2 * W);
}

// The tile's next query from a row that is zero from d to the end of its last panel and vector.
static inline void packQuery(CovarianceTile& t, int side, const float* row) {
  const CovarianceLayout& l = *t.layout;
  VF most = t.qMost[side];
  for (int i = 0; i < l.d; i += W) most = fmost(most, fload(row + i));
  t.qMost[side] = most;
  float* to = t.q[side] + static_cast<size_t>(t.count) * MR;
  for (int p = 0; p < l.qPanels; p++) memcpy(to + p * l.qStride, row + p * MR, MR * sizeof(float));
}

// The tile's next key from a row that is zero from d to the end of its last vector.
template <int DT>
static inline void packKey(CovarianceTile& t, int side, const typename Element<DT>::type* row) {
  VF most = t.kMost[side];
  for (int i = 0; i < t.layout->d; i += W) {
    const VF x = Element<DT>::many(row + i);
    most = fmost(most, x);
    fstore(keyAt(t, side, i), x);
  }
  t.kMost[side] = most;
}

template <int DT>
static inline const typename Element<DT>::type* rowAt(const RowView& v, int64_t offset) {
  return static_cast<const typename Element<DT>::type*>(v.data) + offset;
}

// A row of the tensor as the tile's next query or key: straight into the panels where it lies ready.
static inline void packQueryRow(CovarianceTile& t, int side, const RowView& v, int64_t offset) {
  const int d = t.layout->d;
  if (v.dtype == QKS_F32 && v.dimStride == 1 && d % W == 0 && d % MR == 0) {
    packQuery(t, side, rowAt<QKS_F32>(v, offset));
    return;
  }
  loadRow(v, offset, d, t.row);
  packQuery(t, side, t.row);
}

static inline void packKeyRow(CovarianceTile& t, int side, const RowView& v, int64_t offset) {
  if (v.dimStride != 1 || t.layout->d % W != 0) {
    loadRow(v, offset, t.layout->d, t.row);
    packKey<QKS_F32>(t, side, t.row);
  } else if (v.dtype == QKS_F32) {
    packKey<QKS_F32>(t, side, rowAt<QKS_F32>(v, offset));
  } else if (v.dtype == QKS_F16) {
    packKey<QKS_F16>(t, side, rowAt<QKS_F16>(v, offset));
  } else {
    packKey<QKS_BF16>(t, side, rowAt<QKS_BF16>(v, offset));
  }
}

// From here on the sides have queries of their own.
static void unshare(CovarianceTile& t) {
  memcpy(t.q[1], t.q[0], t.layout->qPanels * t.layout->qStride * sizeof(float));
  t.qMost[1] = t.qMost[0];
  t.shared = false;
}

static void clearTile(CovarianceTile& t) {
  t.count = 0;
  t.shared = true;
  for (int s = 0; s < 2; s++) t.qMost[s] = t.kMost[s] = fset(0.0f);
}

// The power of two to scale a tile by; 1 in the comfortable range, for zero, infinity and NaN.
static float tileScale(uint32_t most) {
  if (most == 0 || most >= 0x7f800000u) return 1.0f;
  int exponent = static_cast<int>(most >> 23) - 127;
  if (exponent >= -40 && exponent <= 40) return 1.0f;
  if (exponent > 120) exponent = 120;
  if (exponent < -120) exponent = -120;
  return bitsToFloat(static_cast<uint32_t>(127 - exponent) << 23);
}

static void scalePanels(float* panels, size_t panelCount, size_t stride, size_t used, float factor) {
  if (factor == 1.0f) return;
  for (size_t p = 0; p < panelCount; p++)
    for (size_t i = 0; i < used; i++) panels[p * stride + i] *= factor;
}

// c[MR][NV * W] += scale * sum_t a[t][MR] b[t][NV * W]; rows and columns beyond the matrix are left out.
// A function of its own: inlined into its caller, its sums spill.
template <int NV>
static QKS_NOINLINE void productBlock(const float* a, const float* b, int count, double scale, double* c, int64_t ldc,
                                int rows, int cols) {
  VF sum[MR][NV];
  for (int i = 0; i < MR; i++)
    for (int n = 0; n < NV; n++) sum[i][n] = fset(0.0f);
  for (int t = 0; t < count; t++) {
    VF right[NV];
    for (int n = 0; n < NV; n++) right[n] = fload(b + n * W);
    for (int i = 0; i < MR; i++) {
      const VF left = fset(a[i]);
      for (int n = 0; n < NV; n++) sum[i][n] = fmadd(left, right[n], sum[i][n]);
    }
    a += MR;
    b += NV * W;
  }
  if (rows >= MR && cols >= NV * W) {
    const VD factor = dset(scale);
    for (int i = 0; i < MR; i++)
      for (int n = 0; n < NV; n++) {
        double* to = c + i * ldc + n * W;
        dstore(to, dmadd(widenLow(sum[i][n]), factor, dload(to)));
        dstore(to + W / 2, dmadd(widenHigh(sum[i][n]), factor, dload(to + W / 2)));
      }
    return;
  }
  float edge[MR][NV * W];
  for (int i = 0; i < MR; i++)
    for (int n = 0; n < NV; n++) fstore(edge[i] + n * W, sum[i][n]);
  for (int i = 0; i < MR && i < rows; i++)
    for (int j = 0; j < NV * W && j < cols; j++) c[i * ldc + j] += static_cast<double>(edge[i][j]) * scale;
}

// out[i] += scale * lanes[j] over all j = i mod period, i < valid
static inline void foldLanes(const float* lanes, int count, int period, double scale, double* out, int valid) {
  for (int i = 0; i < period && i < valid; i++) {
    double sum = 0;
    for (int j = i; j < count; j += period) sum += static_cast<double>(lanes[j]);
    out[i] += scale * sum;
  }
}

// out[0 .. valid) += scale * sum_t panel[t][NV * W]; four interleaved chains of at most 24 f32 additions
template <int NV>
static QKS_NOINLINE void sumOfKeys(const float* panel, int count, double scale, double* out, int valid) {
  VF sum[4][NV];
  for (int c = 0; c < 4; c++)
    for (int n = 0; n < NV; n++) sum[c][n] = fset(0.0f);
  const VF one = fset(1.0f);
  int t = 0;
  for (; t + 4 <= count; t += 4)
    for (int c = 0; c < 4; c++)
      for (int n = 0; n < NV; n++) sum[c][n] = fmadd(one, fload(panel + ((t + c) * NV + n) * W), sum[c][n]);
  for (; t < count; t++)
    for (int n = 0; n < NV; n++) sum[0][n] = fmadd(one, fload(panel + (t * NV + n) * W), sum[0][n]);
  float lanes[4 * NV * W];
  for (int c = 0; c < 4; c++)
    for (int n = 0; n < NV; n++) fstore(lanes + (c * NV + n) * W, sum[c][n]);
  foldLanes(lanes, 4 * NV * W, NV * W, scale, out, valid);
}

// Vectors after which the columns of a query panel come round again: 3 of 8 floats for 6 columns, else 1.
constexpr int kQueryPeriod = MR % W == 0 || W % MR == 0 ? 1 : 3;

constexpr int kQueryStep = 4 * kQueryPeriod * W;  // floats; divides a full tile's
static_assert(kTile * MR % kQueryStep == 0, "whole steps fill a tile");

// Floats of a query panel that sumOfQueries reads.
static inline int queryFloats(int count) { return (count * MR + kQueryStep - 1) / kQueryStep * kQueryStep; }

// out[0 .. valid) += scale * sum_t w_t panel[t][MR], the weights repeated MR times in `wide`; both are zero
// beyond the last term.
static QKS_NOINLINE void sumOfQueries(const float* panel, const float* wide, int count, double scale, double* out,
                                      int valid) {
  constexpr int P = kQueryPeriod;
  VF sum[4][P];
  for (int c = 0; c < 4; c++)
    for (int n = 0; n < P; n++) sum[c][n] = fset(0.0f);
  for (int i = 0; i < count * MR; i += kQueryStep)
    for (int c = 0; c < 4; c++)
      for (int n = 0; n < P; n++) {
        const int at = i + (c * P + n) * W;
        sum[c][n] = fmadd(fload(wide + at), fload(panel + at), sum[c][n]);
      }
  float lanes[4 * P * W];
  for (int c = 0; c < 4; c++)
    for (int n = 0; n < P; n++) fstore(lanes + (c * P + n) * W, sum[c][n]);
  foldLanes(lanes, 4 * P * W, MR, scale, out, valid);
}

QKS_INLINE void prefetchTerm(const PreparedBatch& b, int32_t term, int64_t qHead, int64_t kHead) {
  prefetchRow(b.q, rowOffset(b.q, b.side[0].query[term]) + qHead, b.headDim);
  if (b.side[1].query[term] != b.side[0].query[term])
    prefetchRow(b.q, rowOffset(b.q, b.side[1].query[term]) + qHead, b.headDim);
  for (int s = 0; s < 2; s++) {
    const TermSide& side = b.side[s];
    for (int32_t j = side.offsets[term]; j < side.offsets[term + 1] && j < side.offsets[term] + 32; j++)
      prefetchRow(b.k, rowOffset(b.k, side.keys[j]) + kHead, b.headDim);
  }
}

// How many terms (of one head) ahead to fetch: about 36 rows, which stay in the first cache until they are read.
static int64_t termsAhead(const PreparedBatch& b) {
  const int64_t terms = b.start[b.contrasts];
  if (terms == 0) return 0;
  const int64_t rows = terms + b.side[0].offsets[terms] + b.side[1].offsets[terms];
  const int64_t ahead = 36 * terms / rows;
  return ahead < 1 ? 1 : ahead;
}

// t.wide: the weights of a side, each MR times.
static void widenWeights(const CovarianceTile& t, int side) {
  for (int i = 0; i < t.count; i++)
    for (int j = 0; j < MR; j++) t.wide[i * MR + j] = t.weight[side][i];
  for (int i = t.count * MR; i < queryFloats(t.count); i++) t.wide[i] = 0.0f;
}

// Zeros after the last query of panels that are not full: what an earlier tile left there may not be finite.
static void closePanels(const CovarianceTile& t, float* panels) {
  for (int p = 0; p < t.layout->qPanels; p++)
    for (int i = t.count * MR; i < queryFloats(t.count); i++) panels[p * t.layout->qStride + i] = 0.0f;
}

// Adds the tile to the sums of its contrast and empties it.
static int32_t flushTile(CovarianceTile& t, const HeadSums& sums) {
  if (t.count == 0) return QKS_OK;
  const CovarianceLayout& l = *t.layout;
  const size_t n = static_cast<size_t>(t.count);
  if (t.shared) t.qMost[1] = t.qMost[0];
  uint32_t qMost[2], kMost[2];
  for (int s = 0; s < 2; s++) {
    qMost[s] = largestBits(t.qMost[s]);
    kMost[s] = largestBits(t.kMost[s]);
    if (!t.batch->allowNonFinite && (qMost[s] >= 0x7f800000u || kMost[s] >= 0x7f800000u)) return QKS_E_NON_FINITE;
  }
  float qScale[2], kScale[2];
  closePanels(t, t.q[0]);
  if (!t.shared) closePanels(t, t.q[1]);
  for (int s = 0; s < 2; s++) {
    qScale[s] = tileScale(qMost[s]);
    kScale[s] = tileScale(kMost[s]);
    if (s == 0 || !t.shared)
      scalePanels(t.q[s], static_cast<size_t>(l.qPanels), l.qStride, n * MR, qScale[s]);
    scalePanels(t.k[s], static_cast<size_t>(l.kPanels), l.kStride, n * 2 * W, kScale[s]);
  }
  for (int s = 0; s < 2; s++) {
    const float* q = t.shared ? t.q[0] : t.q[s];
    const double back = 1.0 / (static_cast<double>(qScale[s]) * static_cast<double>(kScale[s]));
    widenWeights(t, s);
    for (int p = 0; p < l.qPanels; p++)
      sumOfQueries(q + p * l.qStride, t.wide, t.count, 1.0 / static_cast<double>(qScale[s]),
                   sums.side[s].q + p * MR, l.d - p * MR);
    for (int j = 0; j < l.kPanels; j++) {
      const float* k = t.k[s] + j * l.kStride;
      const int cols = l.d - j * 2 * W;
      const bool wide = j < l.kPanels - 1 || l.lastWidth == 2 * W;
      double* ksum = sums.side[s].k + j * 2 * W;
      if (wide)
        sumOfKeys<2>(k, t.count, 1.0 / static_cast<double>(kScale[s]), ksum, cols);
      else
        sumOfKeys<1>(k, t.count, 1.0 / static_cast<double>(kScale[s]), ksum, cols);
      for (int p = 0; p < l.qPanels; p++) {
        double* c = sums.side[s].qk + static_cast<int64_t>(p) * MR * l.d + j * 2 * W;
        if (wide)
          productBlock<2>(q + p * l.qStride, k, t.count, back, c, l.d, l.d - p * MR, cols);
        else
          productBlock<1>(q + p * l.qStride, k, t.count, back, c, l.d, l.d - p * MR, cols);
      }
    }
  }
  clearTile(t);
  return QKS_OK;
}

// ---- filling it ----

static void pushTerm(CovarianceTile& t, int32_t term, int64_t qHead, int64_t kHead) {
  const PreparedBatch& b = *t.batch;
  const int32_t query = b.side[0].query[term], queryNeg = b.side[1].query[term];
  packQueryRow(t, 0, b.q, rowOffset(b.q, query) + qHead);
  if (queryNeg != query && t.shared) unshare(t);
  if (!t.shared) packQueryRow(t, 1, b.q, rowOffset(b.q, queryNeg) + qHead);
  for (int s = 0; s < 2; s++) {
    const TermSide& side = b.side[s];
    const int32_t from = side.offsets[term];
    t.weight[s][t.count] = static_cast<float>(side.queryScale[term]);
    if (side.offsets[term + 1] - from == 1 && !side.keyWeights && side.keyScale[term] == 1.0) {
      packKeyRow(t, s, b.k, rowOffset(b.k, side.keys[from]) + kHead);
      continue;
    }
    sumKeys(b.k, kHead, side.keys + from, side.keyWeights ? side.keyWeights + from : nullptr,
            side.offsets[term + 1] - from, side.keyScale[term], b.headDim, t.acc, t.layout->rowLength, t.row);
    packKey<QKS_F32>(t, s, t.row);
  }
  t.count++;
}

// sum += row
static inline void addRow(const float* row, int d, double* sum) {
  for (int i = 0; i < d; i += W) {
    const VF x = fload(row + i);
    dstore(sum + i, dadd(dload(sum + i), widenLow(x)));
    dstore(sum + i + W / 2, dadd(dload(sum + i + W / 2), widenHigh(x)));
  }
}

// The tile's next key: scale * (a - b - c), b and c null for none; all are zero beyond d.
static inline void packDifference(CovarianceTile& t, int side, const double* a, const double* b, const double* c,
                                  double scale) {
  const VD factor = dset(scale);
  VF most = t.kMost[side];
  for (int i = 0; i < t.layout->d; i += W) {
    VD x[2];
    for (int n = 0; n < 2; n++) {
      const int at = i + n * (W / 2);
      x[n] = dload(a + at);
      if (b) x[n] = dsub(x[n], dload(b + at));
      if (c) x[n] = dsub(x[n], dload(c + at));
      x[n] = dmul(x[n], factor);
    }
    const VF key = narrow(x[0], x[1]);
    most = fmost(most, key);
    fstore(keyAt(t, side, i), key);
  }
  t.kMost[side] = most;
}

// The terms of a run that lie within `part`. Positives are the running sum of the query's label, negatives the
// running total less that; a part that starts inside the run first adds up the keys before it, which is a
// twentieth of the work that their terms are.
static int32_t pushRun(CovarianceTile& t, const LabelRun& run, Span part, double* sums, int64_t qHead, int64_t kHead,
                       const HeadSums& out, const qks_cancel* cancel) {
  const PreparedBatch& b = *t.batch;
  const int d = b.headDim;
  const int64_t stride = t.layout->rowLength;
  const int64_t from = part.from > 0 ? part.from : 0, to = part.to < run.termCount ? part.to : run.termCount;
  if (from >= to) return QKS_OK;
  double* total = sums + run.labels * stride;
  memset(sums, 0, static_cast<size_t>((run.labels + 1) * stride) * sizeof(double));
  int64_t key = 0;
  const auto addKey = [&](double* sum, double* other) {
    const int32_t label = run.keyLabels[key];
    if (label < 0) return;
    if (key + 8 < run.keyCount) prefetchRow(b.k, rowOffset(b.k, run.keyRows[key + 8]) + kHead, d);
    loadRow(b.k, rowOffset(b.k, run.keyRows[key]) + kHead, d, t.row);
    addRow(t.row, d, sum + label * stride);
    if (other) addRow(t.row, d, other);
  };
  if (from > 0) {
    for (; key < run.terms[from - 1].keysBefore; key++) addKey(sums, nullptr);
    for (int32_t label = 0; label < run.labels; label++)
      for (int i = 0; i < d; i++) total[i] += sums[label * stride + i];
  }
  for (int64_t i = from; i < to; i++) {
    const LabelTerm& term = run.terms[i];
    if (i + 8 < to) prefetchRow(b.q, rowOffset(b.q, run.terms[i + 8].queryRow) + qHead, d);
    for (; key < term.keysBefore; key++) addKey(sums, total);
    const double* same = sums + term.label * stride;
    const bool mean = b.estimator == QKS_PER_QUERY;
    const double *posSelf = nullptr, *negSelf = nullptr;
    if (term.selfKey >= 0) {
      loadRow(b.k, rowOffset(b.k, run.keyRows[term.selfKey]) + kHead, d, t.row);
      for (int j = 0; j < t.layout->rowLength; j++) t.acc[j] = static_cast<double>(t.row[j]);
      (run.keyLabels[term.selfKey] == term.label ? posSelf : negSelf) = t.acc;
    }
    packDifference(t, 0, same, posSelf, nullptr, mean ? 1.0 / term.posCount : 1.0);
    packDifference(t, 1, total, same, negSelf, mean ? 1.0 / term.negCount : 1.0);
    const int64_t query = rowOffset(b.q, term.queryRow) + qHead;
    packQueryRow(t, 0, b.q, query);
    if (!t.shared) packQueryRow(t, 1, b.q, query);
    t.weight[0][t.count] = mean ? 1.0f : static_cast<float>(term.posCount);
    t.weight[1][t.count] = mean ? 1.0f : static_cast<float>(term.negCount);
    if (++t.count == kTile) {
      const int32_t status = flushTile(t, out);
      if (status != QKS_OK) return status;
      if (cancel && cancel->poll && cancel->poll(cancel->user)) return QKS_E_ABORTED;
    }
  }
  return QKS_OK;
}

static int32_t covarianceHeads(const CovarianceTask& task) {
  const PreparedBatch& b = *task.batch;
  const int heads = task.heads;
  const CovarianceLayout l = covarianceLayout(b, heads);
  char* scratch = static_cast<char*>(task.scratch);
  CovarianceTile tiles[kMostHeads];
  int64_t qHead[kMostHeads], kHead[kMostHeads];
  for (int h = 0; h < heads; h++) {
    CovarianceTile& t = tiles[h];
    char* own = scratch + static_cast<size_t>(h) * l.tile;
    t.batch = &b;
    t.layout = &l;
    for (int s = 0; s < 2; s++) {
      t.q[s] = reinterpret_cast<float*>(own + l.q[s]);
      t.k[s] = reinterpret_cast<float*>(own + l.k[s]);
      t.weight[s] = reinterpret_cast<float*>(own + l.weights) + s * kTile;
    }
    t.row = reinterpret_cast<float*>(scratch + l.row);
    t.wide = reinterpret_cast<float*>(scratch + l.wide);
    t.acc = reinterpret_cast<double*>(scratch + l.acc);
    clearTile(t);
    qHead[h] = (task.head + h) * b.q.headStride;
    kHead[h] = (task.head + h) / b.groupSize * b.k.headStride;
  }
  for (int i = 0; i < l.rowLength; i++) tiles[0].row[i] = 0.0f;

  const qks_cancel* cancel = task.cancel;
  const int64_t ahead = termsAhead(b);
  for (int32_t c = 0; c < b.contrasts; c++) {
    const Span terms = spanWithin(b.start, c, task.part.terms);
    const Span labelled = spanWithin(b.labelStart, c, task.part.labelled);
    auto flush = [&] {
      for (int h = 0; h < heads; h++) {
        const int32_t status = flushTile(tiles[h], task.sums[h * b.contrasts + c]);
        if (status != QKS_OK) return status;
      }
      return static_cast<int32_t>(QKS_OK);
    };
    int32_t status;
    // The next (term, head) to fetch, head fastest.
    int64_t nextTerm = terms.from;
    int nextHead = 0;
    auto prefetch = [&](int64_t count) {
      for (; count > 0 && nextTerm < terms.to; count--) {
        prefetchTerm(b, b.order[nextTerm], qHead[nextHead], kHead[nextHead]);
        if (++nextHead < heads) continue;
        nextHead = 0;
        nextTerm++;
      }
    };
    prefetch(ahead);
    for (int64_t i = terms.from; i < terms.to; i++) {
      for (int h = 0; h < heads; h++) {
        prefetch(1);
        pushTerm(tiles[h], b.order[i], qHead[h], kHead[h]);
      }
      if (tiles[0].count < kTile) continue;
      if ((status = flush()) != QKS_OK) return status;
      if (cancel && cancel->poll && cancel->poll(cancel->user)) return QKS_E_ABORTED;
    }
    if (labelled.from < labelled.to && (status = flush()) != QKS_OK) return status;
    double* sums = reinterpret_cast<double*>(scratch + l.sums);
    for (int h = 0; h < heads; h++)
      for (int64_t r = b.runStart[c]; r < b.runStart[c + 1]; r++) {
        const LabelRun& run = b.runs[r];
        const Span own = {labelled.from - run.firstTerm, labelled.to - run.firstTerm};
        const HeadSums& out = task.sums[h * b.contrasts + c];
        if ((status = pushRun(tiles[h], run, own, sums, qHead[h], kHead[h], out, cancel)) != QKS_OK) return status;
      }
    if ((status = flush()) != QKS_OK) return status;
  }
  return QKS_OK;
}
