// Asynchronous products of a warpgroup (wgmma): 64 x N sums in registers, from 16 rows of both operands in shared
// memory, rows being what is summed over. PTX manual, "Asynchronous warpgroup-level matrix multiply-accumulate".
//
// Layouts. With warp w of the warpgroup, g = lane / 4 and t = lane % 4, a thread's sums are
//
//   d[4 j + 2 h + e]   at row 16 w + g + 8 h, column 8 j + 2 t + e
//
// Operands have their columns together ("MN-major": both transpose flags are 1). A tile of rows lies in panels of 64
// columns: row r of a panel at byte 128 r, its 16-byte piece c at (c ^ r % 8) * 16, panels aligned to 1024 bytes. An
// operand of 8 columns lies row by row, 16 bytes each.
//
// An operand from registers is that of mma.m16n8k16 (tensor_core.cuh), each warp with 16 of the 64 rows.
//
// Sums inside an instruction are cut off, not rounded.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/hopper/barrier.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {

#if defined(QKS_HOPPER)

// Byte of 16-byte piece `piece` of a row, of panels of `rows` rows.
__host__ __device__ __forceinline__ uint32_t panelPiece(int rows, int row, int piece) {
  return static_cast<uint32_t>(piece / 8 * rows * 128 + row * 128 + ((piece % 8) ^ (row & 7)) * 16);
}

// Part of an operand. Products see it after this thread's fenceProxy.
template <typename T>
__device__ __forceinline__ void storeOperand(T* to, const T& value) {
  *to = value;
#if defined(QKS_CUDA_ON_HOST)
  cuda_on_host::requireAligned(to, sizeof value, "a store");
  cuda_on_host::noteWritten(to, sizeof value);
#endif
}

// A shared-memory operand of 64 columns a panel, at a multiple of 16 rows; `panelBytes` from panel to panel.
__device__ __forceinline__ uint64_t panelOperand(uint32_t address, uint32_t panelBytes) {
  constexpr uint64_t kEightRows = 1024, kSwizzled = uint64_t{1} << 62;
  return (address & 0x3ffff) >> 4 | static_cast<uint64_t>(panelBytes >> 4) << 16 | (kEightRows >> 4) << 32 | kSwizzled;
}

// One of 8 columns.
__device__ __forceinline__ uint64_t narrowOperand(uint32_t address) {
  constexpr uint64_t kEightRows = 128;
  return (address & 0x3ffff) >> 4 | (kEightRows >> 4) << 16 | (kEightRows >> 4) << 32;
}

#endif

#if defined(QKS_HOPPER)

// Sums are in registers here, written: before fenceProducts where other instructions have written them, and after a
// wait where others will read them, since a compiler may move those across (PTX manual, "wgmma.fence").
template <int kSums>
__device__ __forceinline__ void pinSums(float (&d)[kSums]) {
#if !defined(QKS_CUDA_ON_HOST)
  QKS_UNROLL
  for (float& x : d) {
    asm volatile("" : "+f"(x)::"memory");
  }
#else
  static_cast<void>(d);
#endif
}

#endif

#if defined(QKS_CUDA_ON_HOST)

__device__ inline void fenceProducts() {}
__device__ inline void commitProducts() { cuda_on_host::commitProducts(); }
template <int kLeft>
__device__ inline void waitForProducts() {
  cuda_on_host::waitForProducts(kLeft);
}
template <bool kBf16, int kSums>
__device__ inline void multiplyAsync(float (&d)[kSums], uint64_t a, uint64_t b) {
  cuda_on_host::issueProduct(d, 2 * kSums, a, nullptr, b, kBf16);
}
template <bool kBf16, int kSums>
__device__ inline void multiplyAsync(float (&d)[kSums], const uint32_t (&a)[4], uint64_t b) {
  cuda_on_host::issueProduct(d, 2 * kSums, 0, a, b, kBf16);
}

#elif defined(QKS_HOPPER)

// Before the first product that reads registers which other instructions wrote.
__device__ __forceinline__ void fenceProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Ends a group of products.
__device__ __forceinline__ void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most `kLeft` groups are under way.
template <int kLeft>
__device__ __forceinline__ void waitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// clang-format off: one instruction a macro, its registers in order.
#define QKS_EIGHT(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define QKS_PRODUCT_8(type, d, a, b) \
  asm volatile( \
      "wgmma.mma_async.sync.aligned.m64n8k16.f32." type "." type " " \
      "{%0,%1,%2,%3}, " \
      "%4, %5, 1, 1, 1, 1, 1;" \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
      : "l"(a), "l"(b))
#define QKS_PRODUCT_64(type, d, a, b) \
  asm volatile( \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, " \
      "%32, %33, 1, 1, 1, 1, 1;" \
      : QKS_EIGHT(d, 0), QKS_EIGHT(d, 8), QKS_EIGHT(d, 16), QKS_EIGHT(d, 24) \
      : "l"(a), "l"(b))
#define QKS_REGISTER_PRODUCT_64(type, d, a, b) \
  asm volatile( \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, " \
      "{%32,%33,%34,%35}, %36, 1, 1, 1, 1;" \
      : QKS_EIGHT(d, 0), QKS_EIGHT(d, 8), QKS_EIGHT(d, 16), QKS_EIGHT(d, 24) \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
#define QKS_PRODUCT_128(type, d, a, b) \
  asm volatile( \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, " \
      "%64, %65, 1, 1, 1, 1, 1;" \
      : QKS_EIGHT(d, 0), QKS_EIGHT(d, 8), QKS_EIGHT(d, 16), QKS_EIGHT(d, 24), QKS_EIGHT(d, 32), QKS_EIGHT(d, 40), QKS_EIGHT(d, 48), QKS_EIGHT(d, 56) \
      : "l"(a), "l"(b))
#define QKS_REGISTER_PRODUCT_128(type, d, a, b) \
  asm volatile( \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " " \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, " \
      "{%64,%65,%66,%67}, %68, 1, 1, 1, 1;" \
      : QKS_EIGHT(d, 0), QKS_EIGHT(d, 8), QKS_EIGHT(d, 16), QKS_EIGHT(d, 24), QKS_EIGHT(d, 32), QKS_EIGHT(d, 40), QKS_EIGHT(d, 48), QKS_EIGHT(d, 56) \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
// clang-format on

// d += A^T B of 16 rows, both operands in shared memory, 2 kSums columns of B; kSums is 4, 32 or 64.
template <bool kBf16, int kSums>
__device__ __forceinline__ void multiplyAsync(float (&d)[kSums], uint64_t a, uint64_t b) {
  if constexpr (kSums == 64 && kBf16) {
    QKS_PRODUCT_128("bf16", d, a, b);
  } else if constexpr (kSums == 64) {
    QKS_PRODUCT_128("f16", d, a, b);
  } else if constexpr (kSums == 32 && kBf16) {
    QKS_PRODUCT_64("bf16", d, a, b);
  } else if constexpr (kSums == 32) {
    QKS_PRODUCT_64("f16", d, a, b);
  } else if constexpr (kBf16) {
    QKS_PRODUCT_8("bf16", d, a, b);
  } else {
    QKS_PRODUCT_8("f16", d, a, b);
  }
}

// The same with A from registers; kSums is 32 or 64.
template <bool kBf16, int kSums>
__device__ __forceinline__ void multiplyAsync(float (&d)[kSums], const uint32_t (&a)[4], uint64_t b) {
  if constexpr (kSums == 64 && kBf16) {
    QKS_REGISTER_PRODUCT_128("bf16", d, a, b);
  } else if constexpr (kSums == 64) {
    QKS_REGISTER_PRODUCT_128("f16", d, a, b);
  } else if constexpr (kBf16) {
    QKS_REGISTER_PRODUCT_64("bf16", d, a, b);
  } else {
    QKS_REGISTER_PRODUCT_64("f16", d, a, b);
  }
}

#undef QKS_EIGHT
#undef QKS_PRODUCT_8
#undef QKS_PRODUCT_64
#undef QKS_REGISTER_PRODUCT_64
#undef QKS_PRODUCT_128
#undef QKS_REGISTER_PRODUCT_128

#endif

}  // namespace qkspace
