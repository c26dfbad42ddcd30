// Rows of queries or keys in device memory: [rows, heads, d], dense, in the type they came in. The same index
// arithmetic on both sides of the bus.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "abi.h"
#include "cuda/runtime/float16.cuh"

namespace qkspace {

struct DeviceRows {
  const void* data;
  int32_t dtype;
  int32_t heads, d;
};

// Element offset of column 0 of a row of a head.
__host__ __device__ inline int64_t rowOffset(const DeviceRows& rows, int64_t row, int32_t head) {
  return (row * rows.heads + head) * rows.d;
}

__device__ __forceinline__ float loadElement(const DeviceRows& rows, int64_t at) {
  if (rows.dtype == QKS_F32) {
    return static_cast<const float*>(rows.data)[at];
  }
  const uint32_t bits = static_cast<const uint16_t*>(rows.data)[at];
  return rows.dtype == QKS_F16 ? f16ToFloat(bits) : bf16ToFloat(bits);
}

}  // namespace qkspace
