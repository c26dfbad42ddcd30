// The accumulated sums of all heads and contrasts on the device, and the way of a batch to them.
#pragma once

#include <cstdint>
#include <vector>

#include "common/batch.h"
#include "cuda/batch_rows.h"
#include "cuda/chunks.h"
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

// Memory that batches use in turn.
struct CovarianceRoom final : Kept {
  // One of two that chunks take in turn: a chunk is copied into one while that in the other is summed.
  struct Berth {
    DeviceBuffer rows, indices;
    PinnedBuffer sentIndices;
    Event indicesSent, arrived, summed;
    explicit Berth(MemoryBudget& budget) : rows(budget), indices(budget) {}
  };
  Batch batch;
  Berth berths[2];
  DeviceBuffer partial, labelSums, batchSums, flags;
  PinnedBuffer answer;

  explicit CovarianceRoom(MemoryBudget& budget)
      : Kept(budget), berths{Berth(budget), Berth(budget)}, partial(budget), labelSums(budget), batchSums(budget),
        flags(budget) {}
  // Of what a batch needs beside its sums.
  size_t workingBytes() const;
  size_t bytes() const override { return workingBytes() + batchSums.bytes() + flags.bytes(); }
  void release() override;
};

class CudaCovariance {
 public:
  CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceRoom& room);

  void add(const qks_batch& batch, const qks_cancel* cancel);
  void merge(const qks_moments& moments);
  void read(const int32_t* heads, int32_t count, const qks_moments& out);

 private:
  struct Shares;
  struct Plan;
  // Adds the batch to `sums`, chunk by chunk; on the tensor cores, which may raise kBeyondF32, or exactly.
  void sum(const PreparedBatch& batch, const Plan& plan, BatchRows& q, BatchRows& k, bool exactly, double* sums,
           const qks_cancel*);
  // Puts the chunk's rows and indices into device.copies, then the launches that sum it into device.stream.
  void sumChunk(const PreparedBatch& batch, const Plan& plan, const Chunk& chunk, CovarianceRoom::Berth& berth,
                const BatchRows& q, const BatchRows& k, bool exactly, double* sums, const qks_cancel*);
  Shares divideMemory();
  Plan planOf(const PreparedBatch& batch, const BatchRows& q, const BatchRows& k);
  void reserveRows(CovarianceRoom::Berth& berth, size_t bytes);
  // Fails where a row that the batch reads is not finite.
  void refuseNonFiniteRows(const PreparedBatch& batch, const BatchRows& q, const BatchRows& k);
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
