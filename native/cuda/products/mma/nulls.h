// Sign flips (null_products.h). Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/null_products.h"

namespace qkspace {

void sumNullsOnTensorCores(cudaStream_t, const HalfRows&, int32_t heads, const uint32_t* signs, int32_t draws,
                           float* matrices);

}  // namespace qkspace
