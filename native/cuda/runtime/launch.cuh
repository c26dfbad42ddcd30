// Launching kernels; a launch that fails is a Failure that names the kernel.
#pragma once

#include <cuda_runtime.h>

#include <tuple>
#include <utility>

#include "cuda/runtime/check.h"

namespace qkspace {

// Runs `kernel` over `grid` blocks of `threads`, with `shared` bytes of dynamic shared memory.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads, size_t shared,
            cudaStream_t stream, Arguments&&... arguments) {
#if defined(QKS_CUDA_ON_HOST)
  (void)name;
  std::tuple<Parameters...> copies(std::forward<Arguments>(arguments)...);
  cuda_on_host::launch(stream, [=] { std::apply(kernel, copies); }, grid, threads, shared);
#else
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), name);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...), name);
#endif
}

}  // namespace qkspace
