// Shared memory of a block. The emulator (test/cuda-on-host) gives it out and counts it.
//
//   QKS_DYNAMIC_SHARED(name)   what the launch asks for, as chars, aligned to 128 bytes
//   QKS_SHARED(type, name)     a variable of the block, such as QKS_SHARED(double[32], parts)
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

// NOLINTBEGIN(bugprone-macro-parentheses): a name and a type, which take no parentheses.
#if defined(QKS_CUDA_ON_HOST)
#define QKS_DYNAMIC_SHARED(name) char* name = cuda_on_host::dynamicShared()
#define QKS_SHARED(type, name)                            \
  static thread_local std::remove_reference_t<type> name; \
  cuda_on_host::useShared(&name, sizeof name)
#else
#define QKS_DYNAMIC_SHARED(name) extern __shared__ __align__(128) char name[]
#define QKS_SHARED(type, name) __shared__ std::remove_reference_t<type> name
#endif
// NOLINTEND(bugprone-macro-parentheses)
