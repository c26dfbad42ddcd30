// The accumulated sums of all heads and contrasts on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"
#include "common/prepared_batch.h"
#include "cuda/covariance/workspace.h"
#include "cuda/products/exact.h"
#include "cuda/products/layout.cuh"
#include "cuda/rows/batch_rows.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/memory.h"

namespace qkspace {

class CudaCovariance {
 public:
  // Takes no memory of the device yet (covariance_create of abi.h), but refuses what is beyond its limit.
  CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceWorkspace& workspace);

  void add(const qks_batch& batch, const qks_cancel* cancel);
  void merge(const qks_moments& moments);
  void read(const int32_t* heads, int32_t count, const qks_moments& out);

 private:
  // Takes the device memory of the sums, zeroed, when it is called for the first time.
  void reserveSums();
  // Fails where a row that the batch reads is not finite.
  void refuseNonFiniteRows(const PreparedBatch& batch, const BatchRows& q, const BatchRows& k);
  // Flags of the last sums; beside them in workspace.answer, the magnitudes.
  uint32_t readFlags();
  // Heads whose products f32 may not hold, by those magnitudes and by those of resident rows.
  std::vector<int32_t> headsBeyondF32(const BatchRows& q, const BatchRows& k, bool readsKeys) const;
  std::vector<int32_t> allHeads() const;
  HeadList sendHeads(const std::vector<int32_t>& heads);
  void clear(double* sums, const std::vector<int32_t>& heads);
  int64_t sumsCount() const;
  size_t sumsBytes() const;

  const qks_spec spec_;
  const CovarianceShape shape_;
  Device& device_;
  Transfer& transfer_;
  CovarianceWorkspace& workspace_;
  DeviceBuffer sums_;
  std::vector<double> terms_, skipped_, weight_[2];  // [contrasts]
};

}  // namespace qkspace
