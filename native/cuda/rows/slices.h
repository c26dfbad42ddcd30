// How the terms of a batch are cut into slices. The cut depends on the batch alone, so that the same batch gives the
// same bits on every device of a kind.
#pragma once

#include <cstdint>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Terms a slice has: at most `most`, fewer where few tiles of output would leave processors idle.
int32_t sliceLength(int64_t terms, int64_t tiles, int32_t most);

// Of explicit terms [from, to) in order of contrast (`start` as in PreparedBatch), counted from `from`.
std::vector<Slice> slicesOfTerms(const int64_t* start, int32_t contrasts, int64_t from, int64_t to, int64_t tiles,
                                 int32_t most);
// Of label runs [from, to), counted from the first.
std::vector<Slice> slicesOfRuns(const LabelRun* runs, int64_t from, int64_t to, int64_t tiles, int32_t most);

}  // namespace qkspace
