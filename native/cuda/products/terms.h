// Covariance sums of explicit terms. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Sums of slices of explicit terms, f32-accurate, for any sets, weights and dtypes. partial: see layout.cuh.
void sumTerms(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
              const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, float* partial, uint32_t* flags);

// sums += all terms of the slices, straight from the definition in f64: the reference, and what is done where
// products leave the range of f32.
void sumTermsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                     const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, double* sums);

}  // namespace qkspace
