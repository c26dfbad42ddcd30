// Reading rows of the strided tensors: where a row lies, fetching it ahead of its use, and converting it to f32.
#pragma once

#include "common/prepared_batch.h"
#include "cpu/vectors/current.h"
#include "cpu/vectors/half.h"

namespace qkspace {
namespace {

template <int DT>
struct Element;
template <>
struct Element<QKS_F32> {
  typedef float type;
  static inline float one(const float* p) { return *p; }
  static inline VF many(const float* p) { return fload(p); }
};
template <>
struct Element<QKS_F16> {
  typedef uint16_t type;
  static inline float one(const uint16_t* p) { return f16ToFloat(*p); }
  static inline VF many(const uint16_t* p) { return loadF16(p); }
};
template <>
struct Element<QKS_BF16> {
  typedef uint16_t type;
  static inline float one(const uint16_t* p) { return bf16ToFloat(*p); }
  static inline VF many(const uint16_t* p) { return loadBf16(p); }
};

static inline int64_t rowOffset(const RowView& v, int64_t r) {
  if (v.linear) {
    return r * v.posStride;
  }
  return r / v.pos * v.batchStride + r % v.pos * v.posStride;
}

// Inlined by force: a function that only prefetches has no effect that the compiler knows of, and calls of
// it are deleted.
QKS_INLINE void prefetchRow(const RowView& v, int64_t offset, int d) {
#if defined(__GNUC__) || defined(__clang__)
  if (v.dimStride != 1) {
    return;
  }
  const size_t size = v.dtype == QKS_F32 ? 4 : 2;
  const char* p = static_cast<const char*>(v.data) + static_cast<size_t>(offset) * size;
  for (size_t i = 0; i < static_cast<size_t>(d) * size; i += 64) {
    __builtin_prefetch(p + i, 0, 3);
  }
#else
  (void)v, (void)offset, (void)d;
#endif
}

template <int DT>
static inline void loadRowAs(const RowView& v, int64_t offset, int d, float* row) {
  const typename Element<DT>::type* p = static_cast<const typename Element<DT>::type*>(v.data) + offset;
  int i = 0;
  if (v.dimStride == 1) {
    for (; i + W <= d; i += W) {
      fstore(row + i, Element<DT>::many(p + i));
    }
    for (; i < d; i++) {
      row[i] = Element<DT>::one(p + i);
    }
  } else {
    for (; i < d; i++) {
      row[i] = Element<DT>::one(p + i * v.dimStride);
    }
  }
}

static void loadRow(const RowView& v, int64_t offset, int d, float* row) {
  if (v.dtype == QKS_F32) {
    loadRowAs<QKS_F32>(v, offset, d, row);
  } else if (v.dtype == QKS_F16) {
    loadRowAs<QKS_F16>(v, offset, d, row);
  } else {
    loadRowAs<QKS_BF16>(v, offset, d, row);
  }
}

template <int DT>
static inline const typename Element<DT>::type* rowAt(const RowView& v, int64_t offset) {
  return static_cast<const typename Element<DT>::type*>(v.data) + offset;
}

}  // namespace
}  // namespace qkspace
