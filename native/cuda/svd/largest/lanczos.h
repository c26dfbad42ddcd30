// Largest singular values of many matrices that are on the GPU already.
#pragma once

#include <cstdint>

#include "cuda/runtime/device.h"
#include "cuda/svd/block/random.cuh"

namespace qkspace {

// Directions to be taken out: matrix i becomes (I - u u^T) D_i (I - v v^T) with basis i / matricesEach. u and v are
// [n / matricesEach, d, rank] in device memory, of orthonormal columns; not read where rank is 0.
struct Deflation {
  const float *u = nullptr, *v = nullptr;
  int rank = 0;
  int64_t matricesEach = 1;
};

// out [n] = largest singular value of each of matrices [n, d, d], row-major, to 1e-4 of itself; asynchronous on
// device.stream. All pointers are device memory; d up to 4096, n up to millions. Same bits for the same seed.
void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, const Deflation& removed,
                           uint64_t seed, float* out);

// Entry `e` of the two vectors of length d that the search starts from, one after the other.
__host__ __device__ inline double lanczosStart(uint64_t seed, uint64_t e) {
  return randomAt(seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull, e);
}

}  // namespace qkspace
