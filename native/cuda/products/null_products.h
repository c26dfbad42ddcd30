// Many matrices that differ only in the weights of the same products. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows/device_rows.cuh"

namespace qkspace {

struct DeviceProducts {
  DeviceRows q, k;
  const int32_t *query, *key;  // [products]
  const float* coefficients;   // [draws, products]
  int32_t products, draws, group;
  uint32_t* flags;
};

// matrices [heads, draws, d, d] = sum over r of coefficients[draw, r] q_r k_r^T, for heads from `firstHead` on. Raises
// kNotFinite (sums.h) where an entry is beyond f32. `plainly`: in f64, straight from the definition.
void combineProducts(cudaStream_t, const DeviceProducts&, int32_t firstHead, int32_t heads, bool plainly,
                     float* matrices);

}  // namespace qkspace
