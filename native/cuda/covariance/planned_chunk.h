// What the host makes of a chunk before anything of it is sent: which rows are brought, its terms and labels as arrays in
// page-locked memory, its waves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/covariance/plan.h"
#include "cuda/covariance/waves.h"
#include "cuda/covariance/workspace.h"
#include "cuda/rows/batch_rows.h"
#include "cuda/rows/chunks.h"
#include "cuda/rows/sent_batch.h"

namespace qkspace {

// Rows that a chunk brings, and the slot of the first.
struct BroughtRows {
  std::vector<int32_t> rows;
  int32_t first = 0;
};

struct PlannedChunk {
  Chunk chunk;
  BroughtRows q, k;
  SentTerms terms;
  SentLabels labels;
  // Places in the blob; labelPairs: as labelSlices, counting the label terms of the chunk.
  size_t termSlicesAt, labelSlicesAt, labelPairsAt;
  std::vector<Wave> termWaves, labelWaves;
  size_t bytes;  // of the blob
};

// Writes the chunk's arrays into `memory`, which nothing reads any more. `exactly`: for the kernels that follow the
// definition. `threads`: as Pool::run's limit; 1 where the pool may be busy.
PlannedChunk planChunk(Chunk chunk, const PreparedBatch& batch, const CovariancePlan& plan, BatchRows& q, BatchRows& k,
                       bool exactly, Pool& pool, int threads, PinnedBuffer& memory);

}  // namespace qkspace
