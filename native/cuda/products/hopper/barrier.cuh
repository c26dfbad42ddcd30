// What blocks of compute capability 9.0 divide their work with: barriers in shared memory between warpgroups that bring
// tiles and warpgroups that multiply them (PTX manual, "mbarrier"), and registers that go from the first to the second.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(QKS_CUDA_ON_HOST)
#include "hopper_on_host.h"
#endif

// Whether this is compiled for a device that has what is in this folder; elsewhere its kernels are empty.
#if defined(QKS_CUDA_ON_HOST) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define QKS_HOPPER 1
#endif

namespace qkspace {

constexpr int kWarpgroup = 128;

// In shared memory. A phase ends when as many have arrived as it was initialised with; then the next one begins.
using Barrier = uint64_t;

#if defined(QKS_CUDA_ON_HOST)

__device__ inline uint32_t sharedAddress(const void* at) { return cuda_on_host::sharedAddress(at); }
__device__ inline void initBarrier(Barrier* barrier, int arrivals) { cuda_on_host::initBarrier(barrier, arrivals); }
__device__ inline void publishBarriers() {}
__device__ inline void arrive(Barrier* barrier) { cuda_on_host::arriveAt(barrier); }
__device__ inline void waitFor(const Barrier* barrier, uint32_t parity) { cuda_on_host::waitAt(barrier, parity); }
__device__ inline void fenceProxy() { cuda_on_host::fenceProxy(); }
template <int kBarrier, int kThreads>
__device__ inline void waitForThreads() {
  cuda_on_host::waitForThreads(kBarrier, kThreads);
}
template <int kEach>
__device__ inline void takeFewerRegisters() {
  cuda_on_host::setRegisters(kEach);
}
template <int kEach>
__device__ inline void takeMoreRegisters() {
  cuda_on_host::setRegisters(kEach);
}

#elif defined(QKS_HOPPER)

__device__ __forceinline__ uint32_t sharedAddress(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// By one thread, before publishBarriers and a barrier of the block.
__device__ __forceinline__ void initBarrier(Barrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(arrivals));
}
__device__ __forceinline__ void publishBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void arrive(Barrier* barrier) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(sharedAddress(barrier)) : "memory");
}

// Until the phase of that parity has ended: 0 is the first one, 1 that before it, which has ended from the start.
__device__ __forceinline__ void waitFor(const Barrier* barrier, uint32_t parity) {
  asm volatile(
      "{ .reg .pred ended;\n WAIT: mbarrier.try_wait.parity.shared.b64 ended, [%0], %1;\n @ended bra DONE;\n bra "
      "WAIT;\n"
      " DONE: }" ::"r"(sharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

// What this thread wrote to shared memory becomes visible to products, which read it by a way of their own.
__device__ __forceinline__ void fenceProxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A barrier of some threads of the block: 1 to 15 (0 is __syncthreads).
template <int kBarrier, int kThreads>
__device__ __forceinline__ void waitForThreads() {
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}

// By all threads of a warpgroup. The threads of a block together have no more than what it was launched with.
template <int kEach>
__device__ __forceinline__ void takeFewerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kEach));
}
template <int kEach>
__device__ __forceinline__ void takeMoreRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kEach));
}

#endif

#if defined(QKS_HOPPER)

// A ring of stages: `full` once all threads of a warpgroup have brought their rows, `empty` once every warp that
// multiplies has done with it. By all threads of the block.
template <int kStages>
__device__ __forceinline__ void initStages(Barrier (&full)[kStages], Barrier (&empty)[kStages], int consumerWarps) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; s++) {
      initBarrier(&full[s], kWarpgroup);
      initBarrier(&empty[s], consumerWarps);
    }
    publishBarriers();
  }
  __syncthreads();
}

// Operands of products start at multiples of 1024 bytes; there are that many more than the stages take.
__device__ __forceinline__ char* alignedStages(char* shared) {
  return shared + (1024 - sharedAddress(shared) % 1024) % 1024;
}

#endif

}  // namespace qkspace
