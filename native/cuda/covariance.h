// The accumulated sums of all heads and contrasts on the device, and the way of a batch to them.
#pragma once

#include <cstdint>
#include <vector>

#include "common/batch.h"
#include "cuda/covariance_kernels.h"
#include "cuda/device.h"
#include "cuda/transfer.h"

namespace qkspace {

// A tensor that stays on the device.
struct ResidentRows {
  DeviceBuffer data;
  qks_tensor shape{};  // without data
  ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel);
};

// Null for null.
const ResidentRows* residentRows(const qks_rows* rows);

// Memory of a context that batches use in turn.
struct CovarianceRoom {
  Batch batch;
  DeviceBuffer q, k, indices, partial, labelSums, batchSums, chunkSums, flags;
  PinnedBuffer answer;
  explicit CovarianceRoom(MemoryBudget& budget)
      : q(budget), k(budget), indices(budget), partial(budget), labelSums(budget), batchSums(budget),
        chunkSums(budget), flags(budget) {}
};

class CudaCovariance {
 public:
  CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceRoom& room);

  void add(const qks_batch& batch, const qks_cancel* cancel);
  void merge(const qks_moments& moments);
  void read(const int32_t* heads, int32_t count, const qks_moments& out);

 private:
  struct Rows;
  struct Chunk;
  std::vector<Chunk> chunksOf(const PreparedBatch& batch, const Rows& q, const Rows& k) const;
  // Adds the chunk to `sums`.
  void addChunk(const PreparedBatch& batch, const Chunk& chunk, Rows& q, Rows& k, double* sums, const qks_cancel*);
  [[noreturn]] void reportNonFinite(const Rows& q, const Rows& k);
  uint32_t readFlags();
  int64_t sumsCount() const;

  const qks_spec spec_;
  const CovarianceShape shape_;
  Device& device_;
  Transfer& transfer_;
  CovarianceRoom& room_;
  DeviceBuffer sums_;
  std::vector<double> terms_, skipped_, weight_[2];  // [contrasts]
};

}  // namespace qkspace
