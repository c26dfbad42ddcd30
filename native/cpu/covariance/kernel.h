// Fused covariance accumulation of a few heads.
//
//   qk[side] += sum_t q_t kbar_t^T,   kbar_t = scale_t * sum_j a_j k_j   (scale as the estimator says)
//   q[side]  += sum_t u_t q_t,        k[side] += sum_t kbar_t
//
// Layout. Rows are gathered straight from the strided tensors into a tile of up to kTile terms (tile.h), which is added
// to the sums when it is full (flush.h). Rows are fetched into the first cache a few terms before they are packed;
// fetched earlier, they push the panels and the sums out of the second.
//
// Heads. A row holds all heads one after another, and the rows of a set are as far apart as heads * d: one head at a
// time meets a new page with every row, and every page once a head. So a few heads take each term in turn, with a tile
// each; their arithmetic is the same as alone, and so are the bits.
//
// Product (product.h). When positive and negative terms have the same query, its panels are shared.
//
// Precision. Keys are summed in f32 over chunks of at most kChunk = 32, the chunks in f64, rounded once to f32
// (key_sum.h; labels: running sums in f64); tiles of at most kTile = 96 terms in f32; masters in f64. The error of an
// entry is then at most (31 + 95 + 4) * 2^-24 * sum |q||k|, for any number of rows or keys, which is below
// (128/2 + 2) * 2^-23.
#pragma once

#include "cpu/covariance/flush.h"
#include "cpu/covariance/labels.h"
#include "cpu/covariance/layout.h"
#include "cpu/covariance/task.h"
#include "cpu/covariance/terms.h"
#include "cpu/covariance/tile.h"

namespace qkspace {
namespace {

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
  for (int i = 0; i < l.rowLength; i++) {
    tiles[0].row[i] = 0.0f;
  }

  const qks_cancel* cancel = task.cancel;
  const int64_t ahead = termsAhead(b);
  for (int32_t c = 0; c < b.contrasts; c++) {
    const Span terms = spanWithin(b.start, c, task.part.terms);
    const Span labelled = spanWithin(b.labelStart, c, task.part.labelled);
    auto flush = [&] {
      for (int h = 0; h < heads; h++) {
        const int32_t status = flushTile(tiles[h], task.sums[h * b.contrasts + c]);
        if (status != QKS_OK) {
          return status;
        }
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
        if (++nextHead < heads) {
          continue;
        }
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
      if (tiles[0].count < kTile) {
        continue;
      }
      status = flush();
      if (status != QKS_OK) {
        return status;
      }
      if (cancel && cancel->poll && cancel->poll(cancel->user)) {
        return QKS_E_ABORTED;
      }
    }
    if (labelled.from < labelled.to) {
      status = flush();
      if (status != QKS_OK) {
        return status;
      }
    }
    double* sums = reinterpret_cast<double*>(scratch + l.sums);
    for (int h = 0; h < heads; h++) {
      for (int64_t r = b.runStart[c]; r < b.runStart[c + 1]; r++) {
        const LabelRun& run = b.runs[r];
        const Span own = {labelled.from - run.firstTerm, labelled.to - run.firstTerm};
        const HeadSums& out = task.sums[h * b.contrasts + c];
        status = pushRun(tiles[h], run, own, sums, qHead[h], kHead[h], out, cancel);
        if (status != QKS_OK) {
          return status;
        }
      }
    }
    status = flush();
    if (status != QKS_OK) {
      return status;
    }
  }
  return QKS_OK;
}

}  // namespace
}  // namespace qkspace
