// Largest singular values of many matrices that are on the GPU already.
#pragma once

#include <cstdint>

#include "cuda/runtime/device.h"

namespace qkspace {

// out [n] = largest singular value of each of matrices [n, d, d], row-major, to 1e-4 of itself; asynchronous on
// device.stream. All pointers are device memory; d up to 4096. Same bits for the same seed.
void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, uint64_t seed, float* out);

// The same of (I - u u^T) D (I - v v^T), with u, v [d, r] of orthonormal columns, shared by all; r may be 0.
void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, const float* u, const float* v,
                           int r, uint64_t seed, float* out);

}  // namespace qkspace
