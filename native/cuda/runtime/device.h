// A GPU in use: its properties, its streams, its memory and how long its work takes.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/runtime/check.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

// What a context has open. `stream` is for arithmetic, `copies` for transfers that run beside it.
struct Device {
  int index;
  cudaDeviceProp properties{};
  MemoryBudget budget;
  Stream stream, copies;
  // QKSPACE_CUDA_KERNELS=plain: the plain kernels in place of the fast ones, to tell whose fault a wrong number is.
  bool plain;
  // It has compute capability 9.0, the library has kernels for that, and QKSPACE_CUDA_KERNELS=mma does not ask for those
  // of older devices.
  bool hopper;
  Stopwatch arithmetic, copying;
  uint64_t copiedBytes = 0;

  // `index` has been made the current device. `limit` 0: nine tenths of what is free now.
  Device(int index, size_t limit);
  // Makes the device current for the calling thread.
  void use() const { check(cudaSetDevice(index), "choosing the device"); }
};

}  // namespace qkspace
