// Covariance sums of label-matched terms. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Sums of slices of label-matched terms. `running`: runningSumsOfLabels(...) doubles for each slice, head, side and
// tile.
void sumLabels(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k, const DeviceLabels&,
               const Slice* slices, int32_t count, int32_t mostLabels, double* running, float* partial,
               uint32_t* flags);
int64_t runningSumsOfLabels(const CovarianceShape&, int32_t mostLabels);

// sums += all terms of the slices, straight from the definition in f64: the reference, and what is done where
// products leave the range of f32.
void sumLabelsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                      const DeviceLabels&, const Slice* slices, int32_t count, double* sums);

}  // namespace qkspace
