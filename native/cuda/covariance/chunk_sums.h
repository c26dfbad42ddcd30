// Sums of a chunk: its rows and terms go to the device, then the launches that sum it. While a chunk is summed in
// device.stream, the next one is on its way in device.copies, its rows being written to page-locked memory by all
// threads of the pool, and a thread of its own plans the one after that; the streams wait for each other by events, the
// host for nothing but page-locked memory:
//
//   thread   plan 0 | plan 1 | plan 2 | plan 3 | ..
//   pool            | fill 0 | fill 1 | fill 2 | ..
//   copies          |   0    |   1    |   2    | ..    chunk i starts when i - 2 is summed
//   stream                   | sum 0  | sum 1  | ..    chunk i starts when i has arrived
#pragma once

#include "abi.h"
#include "common/prepared_batch.h"
#include "cuda/covariance/plan.h"
#include "cuda/covariance/planned_chunk.h"
#include "cuda/covariance/waves.h"
#include "cuda/covariance/workspace.h"
#include "cuda/products/exact.h"
#include "cuda/products/layout.cuh"
#include "cuda/rows/batch_rows.h"
#include "cuda/rows/keys/key_rows.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"

namespace qkspace {

// What the sums of all chunks of a batch have in common.
struct BatchSums {
  Device& device;
  Transfer& transfer;
  CovarianceWorkspace& workspace;
  const CovarianceShape& shape;
  const PreparedBatch& batch;
  const CovariancePlan& plan;
  BatchRows &q, &k;
  // Heads that are summed in f64, straight from the definition; with none, all are summed on the tensor cores, and
  // workspace.magnitudes is raised to the largest magnitudes of what is multiplied.
  HeadList exactly;
  double* sums;  // to which all is added
  const qks_cancel* cancel;

  // All chunks, one after another.
  void addAll();

 private:
  struct SentChunk;
  // Puts the rows and arrays of a chunk into device.copies; device.stream waits for them.
  SentChunk send(const PlannedChunk& planned, CovarianceWorkspace::ChunkBuffers& buffers);
  void findMagnitudesOf(const BatchRows& rows, const BroughtRows& brought, const char* at, uint32_t* largest);
  // Put the launches that sum the chunk into device.stream.
  void sumOnTensorCores(const PlannedChunk& planned, const SentChunk& sent);
  void sumTermWave(const SentChunk& sent, const Wave& wave);
  void sumLabelWave(const SentChunk& sent, const Wave& wave);
  void sumPairsOf(const SentChunk& sent, const Wave& wave, PairKernel kernel, const PairSide (&sides)[2], bool oneQuery,
                  const Slice* slices);
  void sumExactly(const PlannedChunk& planned, const SentChunk& sent);
  KeyRows keyRowsFor(const Wave& wave, int side) const;
  uint32_t* keyMagnitudes() const { return workspace.magnitudes.get<uint32_t>() + shape.heads; }
};

}  // namespace qkspace
