// The rows of a strip as tiles read them:
//
//   keys [tiles, stripRows, kColumns] f32, the scaled key entries, padded with zeros
//   queries [d, stripRows] f64, the scaled products of coefficient and query entry, exact
#pragma once

#include "cpu/flips/layout.h"
#include "cpu/rows/rows.h"

namespace qkspace {
namespace {

// `row` has room for a row, padded to whole tiles.
static void packStrip(const FlipsTask& t, const FlipStrip& strip, const FlipsLayout& l, float* row, float* keys,
                      double* queries) {
  const FlipsPlan& p = *t.plan;
  const size_t length = static_cast<size_t>(p.stripRows);
  const int64_t qHead = t.head * p.q.headStride, kHead = t.head / p.group * p.k.headStride;
  for (int i = 0; i < l.ld + 16; i++) {
    row[i] = 0;
  }
  for (int32_t r = strip.from; r < strip.to; r++) {
    const size_t at = static_cast<size_t>(r - strip.from);
    loadRow(p.k, rowOffset(p.k, r) + kHead, l.d, row);
    const VF scale = fset(t.keyScale);
    for (int tile = 0; tile < l.tiles; tile++) {
      float* to = keys + (static_cast<size_t>(tile) * length + at) * kColumns;
      for (int i = 0; i < kColumns; i += W) {
        fstore(to + i, fmul(scale, fload(row + tile * kColumns + i)));
      }
    }
  }
  for (int32_t r = strip.from; r < strip.to; r++) {
    const size_t at = static_cast<size_t>(r - strip.from);
    loadRow(p.q, rowOffset(p.q, r) + qHead, l.d, row);
    const double c = p.coefficients[r] * t.queryScale;
    for (int i = 0; i < l.d; i++) {
      queries[static_cast<size_t>(i) * length + at] = c * static_cast<double>(row[i]);
    }
  }
}

}  // namespace
}  // namespace qkspace
