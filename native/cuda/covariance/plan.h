// How a batch is summed: its slices and kernels, and what of the device's memory each purpose has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/covariance/pair_forms.h"
#include "cuda/covariance/workspace.h"
#include "cuda/products/layout.cuh"
#include "cuda/products/pairs.h"
#include "cuda/rows/batch_rows.h"
#include "cuda/rows/chunks.h"
#include "cuda/rows/device_terms.cuh"
#include "cuda/runtime/device.h"

namespace qkspace {

// Where each array of a transfer starts.
constexpr size_t kAlignment = 256;
inline size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What all chunks of a batch have in common.
struct CovariancePlan {
  PairForms forms;
  PairKernel termKernel, labelKernel;
  bool made[2];  // by side of the explicit terms: key rows are made of sets, rather than read where they are
  std::vector<Slice> terms, labels;
  int32_t mostLabels = 1;
  int64_t mostSlices = 1, mostLabelSlices = 1, mostPairs = 1;  // of a launch
  size_t keysAt = 0;                                           // where all rows stay: behind the queries
  ChunkLimits limits{};

  bool readsKeys() const { return !terms.empty() && !(made[0] && made[1]); }
};

// Reserves what the plan needs of `workspace`, beside the chunks' indices.
CovariancePlan planCovariance(const PreparedBatch& batch, const CovarianceShape& shape, const BatchRows& q,
                              const BatchRows& k, Device& device, Pool& pool, CovarianceWorkspace& workspace);

}  // namespace qkspace
