// A checked batch as kernels read it. Plain structs only: they are included under several instruction sets and
// by CUDA.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

namespace qkspace {

// A checked strided tensor; row r of head h starts at offset(r) + h * headStride.
struct RowView {
  const void* data;
  int32_t dtype;
  int64_t rows, pos;
  int64_t batchStride, posStride, headStride, dimStride;
  int linear;  // batchStride == pos * posStride: offset(r) = r * posStride
};

// One side (positive or negative) of the explicit terms of a batch.
struct TermSide {
  const int32_t* query;
  const int32_t* offsets;
  const int32_t* keys;
  const float* keyWeights;   // or null
  const double* keyScale;    // per term: factor of the weighted key sum
  const double* queryScale;  // per term: weight of the query in the q-sum
};

// One query of a label-matched sequence that is a term.
struct LabelTerm {
  int32_t queryRow;
  int32_t label;       // compact
  int32_t selfKey;     // index of the key that it does not see, or -1
  int32_t keysBefore;  // it sees keys [0, keysBefore) of the sequence
  int32_t posCount, negCount;
};

struct LabelRun {
  int32_t contrast;
  int32_t labels;     // number of distinct labels
  int64_t firstTerm;  // label terms of the runs before it
  int64_t termCount, keyCount;
  const LabelTerm* terms;
  const int32_t* keyRows;
  const int32_t* keyLabels;  // compact, -1 for none
  size_t termsAt, keysAt;    // where both start among those of all runs
};

struct PreparedBatch {
  RowView q, k;
  int32_t headDim, heads, groupSize, contrasts, estimator, allowNonFinite;
  // Explicit terms in order of contrast, stable: order[start[c] .. start[c+1]].
  const int32_t* order;
  const int64_t* start;
  TermSide side[2];
  const LabelRun* runs;  // in order of contrast, stable; runStart as start
  const int64_t* runStart;
  const int64_t* labelStart;  // [contrasts + 1]: label terms of the contrasts before
};

}  // namespace qkspace
