// How many matrices of a request go together, and with what memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi.h"
#include "cuda/runtime/device.h"
#include "cuda/svd/kernels/full.cuh"
#include "cuda/svd/kernels/matrix_task.cuh"
#include "cuda/svd/workspace.h"

namespace qkspace {

struct BatchPlan {
  SvdShape shape;
  size_t element;             // bytes of a number of the request's matrices
  size_t size, sizeY, sizeV;  // numbers of a matrix, and of both sides' vectors
  size_t sharedLimit;         // bytes of dynamic shared memory that a block may have
  JacobiPlan single, wide;
  bool direct;    // full decompositions in f64 alone
  bool polish;    // in f32, then by products
  bool spread;    // over the whole device
  int widest;     // vectors of the widest panel; 0: no panels
  int64_t batch;  // matrices
  int slots;      // blocks that have memory of their own
  size_t slotBytes;

  // Blocks that the device runs at a time, of so many threads and so much dynamic shared memory.
  int residentBlocks(const Device& device, int threads, size_t shared) const;
};

BatchPlan planBatches(const Device& device, const SvdWorkspace& workspace, const qks_svd_request& request);

// Memory for a batch, beside the vectors that it packs.
void reserveBatch(const Device& device, const BatchPlan& plan, SvdWorkspace& workspace);

}  // namespace qkspace
