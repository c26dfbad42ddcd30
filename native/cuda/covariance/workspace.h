// Memory that covariance accumulation works in.
#pragma once

#include <cstddef>

#include "common/batch.h"
#include "cuda/rows/batch_rows.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

// Memory that batches use in turn.
struct CovarianceWorkspace final : Kept {
  // Two, which chunks take in turn: a chunk is copied into one while that in the other is summed.
  struct ChunkBuffers {
    DeviceBuffer rows, indices;
    PinnedBuffer sentIndices;
    Event indicesSent, arrived, summed;
    explicit ChunkBuffers(MemoryBudget& budget) : rows(budget), indices(budget) {}
  };
  Batch batch;
  RowNumbers queryNumbers, keyNumbers;
  ChunkBuffers chunkBuffers[2];
  // magnitudes: [heads] of queries, then [kvHeads] of keys, the largest that the batch has met.
  DeviceBuffer partial, keyRows, labelSums, batchSums, flags, magnitudes, heads;
  PinnedBuffer answer;

  explicit CovarianceWorkspace(MemoryBudget& budget)
      : Kept(budget),
        chunkBuffers{ChunkBuffers(budget), ChunkBuffers(budget)},
        partial(budget),
        keyRows(budget),
        labelSums(budget),
        batchSums(budget),
        flags(budget),
        magnitudes(budget),
        heads(budget) {}
  // Of what a batch needs beside its sums.
  size_t workingBytes() const;
  size_t bytes() const override {
    return workingBytes() + batchSums.bytes() + flags.bytes() + magnitudes.bytes() + heads.bytes();
  }
  void release() override;
  // Room for the rows of a chunk. Where both do not fit, the other chunk's go first.
  void reserveRows(Device& device, ChunkBuffers& buffers, size_t bytes);
};

}  // namespace qkspace
