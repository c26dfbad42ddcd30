// Label-matched sequences: running sums of the keys of each label, in f64, give the key sums of every query.
#pragma once

#include "cpu/covariance/flush.h"
#include "cpu/covariance/tile.h"
#include "cpu/rows/rows.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

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
      if (b) {
        x[n] = dsub(x[n], dload(b + at));
      }
      if (c) {
        x[n] = dsub(x[n], dload(c + at));
      }
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
  if (from >= to) {
    return QKS_OK;
  }
  double* total = sums + run.labels * stride;
  memset(sums, 0, static_cast<size_t>((run.labels + 1) * stride) * sizeof(double));
  int64_t key = 0;
  const auto addKey = [&](double* sum, double* other) {
    const int32_t label = run.keyLabels[key];
    if (label < 0) {
      return;
    }
    if (key + 8 < run.keyCount) {
      prefetchRow(b.k, rowOffset(b.k, run.keyRows[key + 8]) + kHead, d);
    }
    loadRow(b.k, rowOffset(b.k, run.keyRows[key]) + kHead, d, t.row);
    addRow(t.row, d, sum + label * stride);
    if (other) {
      addRow(t.row, d, other);
    }
  };
  if (from > 0) {
    for (; key < run.terms[from - 1].keysBefore; key++) {
      addKey(sums, nullptr);
    }
    for (int32_t label = 0; label < run.labels; label++) {
      for (int i = 0; i < d; i++) {
        total[i] += sums[label * stride + i];
      }
    }
  }
  for (int64_t i = from; i < to; i++) {
    const LabelTerm& term = run.terms[i];
    if (i + 8 < to) {
      prefetchRow(b.q, rowOffset(b.q, run.terms[i + 8].queryRow) + qHead, d);
    }
    for (; key < term.keysBefore; key++) {
      addKey(sums, total);
    }
    const double* same = sums + term.label * stride;
    const bool mean = b.estimator == QKS_PER_QUERY;
    const double *posSelf = nullptr, *negSelf = nullptr;
    if (term.selfKey >= 0) {
      loadRow(b.k, rowOffset(b.k, run.keyRows[term.selfKey]) + kHead, d, t.row);
      for (int j = 0; j < t.layout->rowLength; j++) {
        t.acc[j] = static_cast<double>(t.row[j]);
      }
      (run.keyLabels[term.selfKey] == term.label ? posSelf : negSelf) = t.acc;
    }
    packDifference(t, 0, same, posSelf, nullptr, mean ? 1.0 / term.posCount : 1.0);
    packDifference(t, 1, total, same, negSelf, mean ? 1.0 / term.negCount : 1.0);
    const int64_t query = rowOffset(b.q, term.queryRow) + qHead;
    packQueryRow(t, 0, b.q, query);
    if (!t.shared) {
      packQueryRow(t, 1, b.q, query);
    }
    t.weight[0][t.count] = mean ? 1.0f : static_cast<float>(term.posCount);
    t.weight[1][t.count] = mean ? 1.0f : static_cast<float>(term.negCount);
    if (++t.count == kTile) {
      const int32_t status = flushTile(t, out);
      if (status != QKS_OK) {
        return status;
      }
      if (cancel && cancel->poll && cancel->poll(cancel->user)) {
        return QKS_E_ABORTED;
      }
    }
  }
  return QKS_OK;
}

}  // namespace
}  // namespace qkspace
