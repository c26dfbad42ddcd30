// Launching kernels; a launch that fails is a Failure that names the kernel.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "cuda/runtime/check.h"

namespace qkspace {

// Static and dynamic shared memory that a block has together without asking for more.
constexpr size_t kSharedByDefault = 48 * 1024;

// Asks for what `kernel` needs with `dynamic` bytes of shared memory. It asks for all that a block of the device can
// have: other threads launch the same kernel with other sizes, and what is asked for last holds for all.
template <typename Kernel>
void allowShared(const char* name, Kernel* kernel, size_t dynamic) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel), name);
  if (attributes.sharedSizeBytes + dynamic <= kSharedByDefault) {
    return;
  }
  int device = 0, most = 0;
  check(cudaGetDevice(&device), name);
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), name);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             most - static_cast<int>(attributes.sharedSizeBytes)),
        name);
}

// Runs `kernel` over `grid` blocks of `threads`, with `shared` bytes of dynamic shared memory.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads, size_t shared,
            cudaStream_t stream, Arguments&&... arguments) {
  if (shared > 0) {
    allowShared(name, kernel, shared);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...), name);
}

}  // namespace qkspace
