// How the terms of a batch are cut into slices. The cut depends on the terms alone, so that a head of the same batch has
// the same bits on every device of a kind, and whatever other heads are summed beside it.
#pragma once

#include <cstdint>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Terms a slice has: at most `most`, fewer where there are few, so that several processors share them.
int32_t sliceLength(int64_t terms, int32_t most);

// Of explicit terms [from, to) in order of contrast (`start` as in PreparedBatch), counted from `from`.
std::vector<Slice> slicesOfTerms(const int64_t* start, int32_t contrasts, int64_t from, int64_t to, int32_t most);
// Of label runs [from, to), counted from the first.
std::vector<Slice> slicesOfRuns(const LabelRun* runs, int64_t from, int64_t to, int32_t most);

}  // namespace qkspace
