// The tensor cores as plain functions. Fragment layouts are those of the PTX manual,
// "Matrix fragments for mma.m16n8k8" and "m16n8k16": with g = lane / 4 and t = lane % 4,
//
//   D, C   16 x 8    d[0], d[1] at (g, 2t), (g, 2t + 1); d[2], d[3] eight rows below
//   tf32   A 16 x 8  a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4);  B 8 x 8  b[0] (t, g), b[1] (t + 4, g)
//   16 bit A 16 x 16 a[0] (g, 2t..), a[1] (g + 8, 2t..), a[2] (g, 2t + 8..), a[3] (g + 8, 2t + 8..), two to a register,
//                    the first in its lower half;  B 16 x 8  b[0] (2t.., g), b[1] (2t + 8.., g)
//
// Sums inside an instruction are cut off, not rounded, so whoever adds many of them takes partial sums out in time.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(QKS_CUDA_ON_HOST)
#include "tensor_core_on_host.h"
#endif

namespace qkspace {

// What a number becomes when its lower 13 bits of mantissa are rounded off, ties away from zero: tf32.
__device__ __forceinline__ uint32_t toTf32(float x) {
#if defined(QKS_CUDA_ON_HOST)
  return tf32OnHost(x);
#else
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#endif
}

// d += a b, a 16 x 8, b 8 x 8, tf32.
__device__ __forceinline__ void multiplyTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(QKS_CUDA_ON_HOST)
  multiplyTf32OnHost(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// d += a b, a 16 x 16, b 16 x 8, both f16 or both bf16.
template <bool kBf16>
__device__ __forceinline__ void multiply16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(QKS_CUDA_ON_HOST)
  multiply16OnHost<kBf16>(d, a, b);
#else
  if (kBf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory, each transposed: lane i names row i % 8 of matrix
// i / 8 (16 bytes, aligned), and gets in m[j] the two numbers at rows 2t, 2t + 1 of column g of matrix j.
__device__ __forceinline__ void loadTransposed(uint32_t (&m)[4], const void* row) {
#if defined(QKS_CUDA_ON_HOST)
  loadTransposedOnHost(m, row);
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address)
               : "memory");
#endif
}

}  // namespace qkspace
