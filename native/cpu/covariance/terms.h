// Explicit terms: their rows are fetched ahead of their use, and each becomes one query and one key of the tile.
#pragma once

#include "cpu/covariance/key_sum.h"
#include "cpu/covariance/tile.h"
#include "cpu/rows/rows.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

QKS_INLINE void prefetchTerm(const PreparedBatch& b, int32_t term, int64_t qHead, int64_t kHead) {
  prefetchRow(b.q, rowOffset(b.q, b.side[0].query[term]) + qHead, b.headDim);
  if (b.side[1].query[term] != b.side[0].query[term]) {
    prefetchRow(b.q, rowOffset(b.q, b.side[1].query[term]) + qHead, b.headDim);
  }
  for (int s = 0; s < 2; s++) {
    const TermSide& side = b.side[s];
    for (int32_t j = side.offsets[term]; j < side.offsets[term + 1] && j < side.offsets[term] + 32; j++) {
      prefetchRow(b.k, rowOffset(b.k, side.keys[j]) + kHead, b.headDim);
    }
  }
}

// How many terms (of one head) ahead to fetch: about 36 rows, which stay in the first cache until they are read.
static int64_t termsAhead(const PreparedBatch& b) {
  const int64_t terms = b.start[b.contrasts];
  if (terms == 0) {
    return 0;
  }
  const int64_t rows = terms + b.side[0].offsets[terms] + b.side[1].offsets[terms];
  const int64_t ahead = 36 * terms / rows;
  return ahead < 1 ? 1 : ahead;
}

static void pushTerm(CovarianceTile& t, int32_t term, int64_t qHead, int64_t kHead) {
  const PreparedBatch& b = *t.batch;
  const int32_t query = b.side[0].query[term], queryNeg = b.side[1].query[term];
  packQueryRow(t, 0, b.q, rowOffset(b.q, query) + qHead);
  if (queryNeg != query && t.shared) {
    unshare(t);
  }
  if (!t.shared) {
    packQueryRow(t, 1, b.q, rowOffset(b.q, queryNeg) + qHead);
  }
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

}  // namespace
}  // namespace qkspace
