// The tile: up to kTile terms of one head, as panels. MR query columns (or 2W key columns) of all terms lie together,
// so that the product reads both operands front to back.
#pragma once

#include "cpu/covariance/layout.h"
#include "cpu/rows/rows.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

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
  for (int i = 0; i < l.d; i += W) {
    most = fmost(most, fload(row + i));
  }
  t.qMost[side] = most;
  float* to = t.q[side] + static_cast<size_t>(t.count) * MR;
  for (int p = 0; p < l.qPanels; p++) {
    memcpy(to + p * l.qStride, row + p * MR, MR * sizeof(float));
  }
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
  for (int s = 0; s < 2; s++) {
    t.qMost[s] = t.kMost[s] = fset(0.0f);
  }
}

}  // namespace
}  // namespace qkspace
