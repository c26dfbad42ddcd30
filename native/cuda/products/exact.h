// Covariance sums straight from the definition, in f64. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Query heads, on the device.
struct HeadList {
  const int32_t* heads;
  int32_t count;
};

// sums += all terms of the slices, for the heads listed.
void sumTermsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                     const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, const HeadList&, double* sums);
void sumLabelsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                      const DeviceLabels&, const Slice* slices, int32_t count, const HeadList&, double* sums);

}  // namespace qkspace
