// Copies from global to shared memory that run beside the arithmetic of the thread that started them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(QKS_CUDA_ON_HOST)
#include "async_copy_on_host.h"
#endif

namespace qkspace {

// 16 bytes to shared memory, of which `bytes` come from `from` and the rest are zero. Not there before
// waitForCopies and a barrier.
__device__ __forceinline__ void copyAsync(void* to, const void* from, uint32_t bytes) {
#if defined(QKS_CUDA_ON_HOST)
  copyAsyncOnHost(to, from, 16, bytes);
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void commitCopies() {
#if defined(QKS_CUDA_ON_HOST)
  commitCopiesOnHost();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `kLeft` of the thread's groups are under way.
template <int kLeft>
__device__ __forceinline__ void waitForCopies() {
#if defined(QKS_CUDA_ON_HOST)
  waitForCopiesOnHost(kLeft);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace qkspace
