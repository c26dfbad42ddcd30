// How the memory of one covariance task is divided: a tile for every head that is read together, then what all of them
// share (a row, widened weights, a key sum in f64, running sums of the labels).
//
// Panels are padded by 16 floats: without them, equal places of all panels would share a cache set.
#pragma once

#include "cpu/covariance/task.h"
#include "cpu/memory/align.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

struct CovarianceLayout {
  int d, qPanels, kPanels, lastWidth, rowLength;
  size_t qStride, kStride;      // floats between panels
  size_t q[2], k[2], weights;   // byte offsets in a tile
  size_t tile;                  // bytes of a tile; there is one a head, at the start
  size_t row, wide, acc, sums;  // byte offsets
  size_t bytes;
};

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
  for (int64_t r = 0; r < b.runStart[b.contrasts]; r++) {
    if (b.runs[r].labels > labels) {
      labels = b.runs[r].labels;
    }
  }
  l.sums = at;  // one row per label, and the total
  at = alignUp(at + static_cast<size_t>(labels + 1) * l.rowLength * sizeof(double));
  l.bytes = at;
  return l;
}

static size_t covarianceScratch(const PreparedBatch& b, int heads) { return covarianceLayout(b, heads).bytes; }

}  // namespace
}  // namespace qkspace
