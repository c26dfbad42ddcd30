// Covariance sums of one-to-one pairs of 16-bit rows. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Sums of slices of explicit terms (terms.h) where every set is one key and every weight 1, and q and k are both f16 or
// both bf16, d a multiple of 8.
void sumPairs16(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, float* partial, uint32_t* flags);

}  // namespace qkspace
