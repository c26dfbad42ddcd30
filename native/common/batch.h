// Checks a batch and turns it into what the kernels read. Nothing is accumulated before this has passed.
#pragma once

#include <cstdint>
#include <vector>

#include "common/label_index.h"
#include "common/pool.h"
#include "common/prepared_batch.h"

namespace qkspace {

// Kept from batch to batch, so that its vectors are touched for the first time only once.
struct Batch {
  PreparedBatch view;  // points into the vectors below and into the caller's arrays
  std::vector<int32_t> order;
  std::vector<int64_t> start, runStart, labelStart;
  std::vector<double> keyScale[2], queryScale[2];
  std::vector<LabelRun> runs;
  std::vector<LabelTerm> labelTerms;  // of all runs, in the order given
  std::vector<int32_t> keyLabels;
  std::vector<int64_t> seen;  // keys of each label so far
  LabelIndex labelIndex;
  // [contrasts]: what the batch adds to the counts and weights.
  std::vector<double> terms, skipped, weight[2];
  // Rows that one head reads (with repetition), and the largest |key sum| / max|k|.
  int64_t rowsRead = 0;
  double largestGain = 1;

  // Memory that it holds, about.
  size_t bytes() const {
    return order.capacity() * sizeof(int32_t) + 4 * keyScale[0].capacity() * sizeof(double) +
           labelTerms.capacity() * sizeof(LabelTerm) + keyLabels.capacity() * sizeof(int32_t);
  }
};

// A tensor by the name `name` of `heads` heads of dimension d. Throws a Failure that says what is wrong.
RowView checkTensor(const qks_tensor& tensor, int64_t heads, int64_t d, const char* name);

// The spec itself. Throws a Failure that says what is wrong.
qks_spec checkSpec(const qks_spec& spec);

// Throws a Failure for a head that is not one of `heads`.
void checkHeads(const int32_t* wanted, int32_t count, int32_t heads);

// Throws a Failure that names the array, the index and what was expected. The result does not depend on the threads.
void prepareBatch(const qks_spec& spec, const qks_batch& in, Pool& pool, Batch& out);

}  // namespace qkspace
