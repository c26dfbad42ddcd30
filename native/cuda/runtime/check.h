// Failed calls of the CUDA runtime as Failures.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "common/status.h"

namespace qkspace {

// A failed call of the runtime becomes a Failure that says what was being done.
inline void check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) {
    return;
  }
  const int32_t status = error == cudaErrorMemoryAllocation ? QKS_E_OUT_OF_MEMORY : QKS_E_BACKEND;
  fail(status, what + ": " + cudaGetErrorString(error));
}

}  // namespace qkspace
