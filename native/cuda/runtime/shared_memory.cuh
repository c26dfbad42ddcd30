// Shared memory of a block. The host emulator (test/cuda-on-host) gives it out and counts it.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

// QKS_DYNAMIC_SHARED(name): the dynamic shared memory, as chars aligned to 128 bytes.
// QKS_SHARED(type, name): a variable of the block, such as QKS_SHARED(double[32], parts).
#if defined(QKS_CUDA_ON_HOST)
#define QKS_DYNAMIC_SHARED(name) \
  char* name = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(cuda_on_host::dynamicShared()) + 127) & ~uintptr_t{127})
#define QKS_SHARED(type, name) static thread_local std::remove_reference_t<type> name
#else
#define QKS_DYNAMIC_SHARED(name) extern __shared__ __align__(128) char name[]
#define QKS_SHARED(type, name) __shared__ std::remove_reference_t<type> name
#endif
