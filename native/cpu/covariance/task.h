// What a covariance kernel is asked to do: a part of a batch, for a few heads. Plain structs and raw pointers only, as
// it is compiled once for every instruction set.
#pragma once

#include "abi.h"
#include "common/prepared_batch.h"
#include "cpu/vectors/before_target.h"

namespace qkspace {

constexpr int kTile = 96;  // terms that are summed in f32 (see cpu/covariance/kernel.h)

constexpr int kMostHeads = 4;  // heads that are read together

// Where the sums of one (contrast, head) go.
struct SideSums {
  double *q, *k, *qk;
};
struct HeadSums {
  SideSums side[2];
};

struct Span {
  int64_t from, to;
};

// What of [start[c], start[c + 1]) lies in the span.
static inline Span spanWithin(const int64_t* start, int64_t c, const Span& s) {
  const int64_t from = start[c] > s.from ? start[c] : s.from, to = start[c + 1] < s.to ? start[c + 1] : s.to;
  return {from, to < from ? from : to};
}

// A part of a batch: positions in `order`, and label terms counted through all runs.
struct BatchPart {
  Span terms, labelled;
};

struct CovarianceTask {
  const PreparedBatch* batch;
  BatchPart part;
  int32_t head, heads;   // the first, and how many: at most kMostHeads
  const HeadSums* sums;  // [heads, contrasts], used where the part has terms or runs of the contrast
  void* scratch;         // covarianceScratch bytes, 64-aligned
  const qks_cancel* cancel;
};

}  // namespace qkspace
