// What happens to sums once they are made. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"

namespace qkspace {

// A flag: a sum is infinite or NaN.
constexpr uint32_t kNotFinite = 1;

// sums += partial, slice by slice; those of contrast c of `contrasts` are [first[c], first[c + 1]).
void addPartial(cudaStream_t, const CovarianceShape&, const float* partial, const int32_t* contrasts,
                const int32_t* first, int32_t count, double* sums);

// Raises kNotFinite in `flags` where one of n numbers is not finite.
void findNonFinite(cudaStream_t, const double* sums, int64_t n, uint32_t* flags);
// to += from
void addSums(cudaStream_t, const double* from, int64_t n, double* to);

}  // namespace qkspace
