// The accumulated sums of all heads and contrasts on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"
#include "common/prepared_batch.h"
#include "cuda/covariance/workspace.h"
#include "cuda/products/layout.cuh"
#include "cuda/rows/batch_rows.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/transfer.h"

namespace qkspace {

class CudaCovariance {
 public:
  CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceWorkspace& workspace);

  void add(const qks_batch& batch, const qks_cancel* cancel);
  void merge(const qks_moments& moments);
  void read(const int32_t* heads, int32_t count, const qks_moments& out);

 private:
  // Fails where a row that the batch reads is not finite.
  void refuseNonFiniteRows(const PreparedBatch& batch, const BatchRows& q, const BatchRows& k);
  uint32_t readFlags();
  int64_t sumsCount() const;

  const qks_spec spec_;
  const CovarianceShape shape_;
  Device& device_;
  Transfer& transfer_;
  CovarianceWorkspace& workspace_;
  DeviceBuffer sums_;
  std::vector<double> terms_, skipped_, weight_[2];  // [contrasts]
};

}  // namespace qkspace
