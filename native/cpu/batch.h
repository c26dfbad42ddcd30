// Checks a batch and turns it into what the kernels read. Nothing is accumulated before this has passed.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace qkspace {

struct Batch {
  PreparedBatch view;  // points into the vectors below and into the caller's arrays
  std::vector<int32_t> order;
  std::vector<int64_t> start, runStart;
  std::vector<double> keyScale[2], queryScale[2];
  std::vector<LabelRun> runs;
  std::vector<std::vector<LabelTerm>> runTerms;
  std::vector<std::vector<int32_t>> runLabels;
  // [contrasts]: what the batch adds to the counts and weights.
  std::vector<double> terms, skipped, weight[2];
  // Rows that one head reads (with repetition), and the largest |key sum| / max|k|.
  int64_t rowsRead = 0;
  double largestGain = 1;
};

// Throws a Failure that names the array, the index and what was expected.
void prepareBatch(const qks_spec& spec, const qks_batch& in, Batch& out);

}  // namespace qkspace
