// Kernels for pairs of rows on compute capability 8.0 and later (pairs.h). Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/pairs.h"

namespace qkspace {

// PairKernel::kMma16 and kMma32.
void sumPairs16(cudaStream_t, const CovarianceShape&, const DevicePairs&, const Slice* slices, int32_t count,
                float* partial);
void sumPairs32(cudaStream_t, const CovarianceShape&, const DevicePairs&, const Slice* slices, int32_t count,
                float* partial);

}  // namespace qkspace
