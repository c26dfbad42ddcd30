// Kernels for pairs of rows on compute capability 9.0 (pairs.h). Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/products/pairs.h"

namespace qkspace {

// PairKernel::kWgmma16 and kWgmma32.
void sumPairs16OnHopper(cudaStream_t, const CovarianceShape&, const DevicePairs&, bool oneQuery, const Slice* slices,
                        int32_t count, float* partial);
void sumPairs32OnHopper(cudaStream_t, const CovarianceShape&, const DevicePairs&, bool oneQuery, const Slice* slices,
                        int32_t count, float* partial);

}  // namespace qkspace
