// What an instruction set provides: two entry points, compiled once per instruction set from
// covariance_kernel.h and svd_kernel.h. Plain structs and raw pointers only: a template of the standard
// library instantiated under a wider instruction set could be the copy that the linker keeps for all.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "common/prepared_batch.h"

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define QKS_X86 1
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define QKS_ARM64 1
#endif

#if defined(_MSC_VER)
#define QKS_NOINLINE __declspec(noinline)
#define QKS_INLINE static __forceinline
#else
#define QKS_NOINLINE __attribute__((noinline))
#define QKS_INLINE static inline __attribute__((always_inline))
#endif

namespace qkspace {

constexpr int kTile = 96;  // terms that are summed in f32 (see covariance_kernel.h)

constexpr int kMostHeads = 4;  // heads that are read together

// ---- covariance ----

// Where the sums of one (contrast, head) go.
struct SideSums {
  double *q, *k, *qk;
};
struct HeadSums {
  SideSums side[2];
};

struct Span {
  int64_t from, to;
};

// What of [start[c], start[c + 1]) lies in the span.
static inline Span spanWithin(const int64_t* start, int64_t c, const Span& s) {
  const int64_t from = start[c] > s.from ? start[c] : s.from, to = start[c + 1] < s.to ? start[c + 1] : s.to;
  return {from, to < from ? from : to};
}

// A part of a batch: positions in `order`, and label terms counted through all runs.
struct BatchPart {
  Span terms, labelled;
};

struct CovarianceTask {
  const PreparedBatch* batch;
  BatchPart part;
  int32_t head, heads;   // the first, and how many: at most kMostHeads
  const HeadSums* sums;  // [heads, contrasts], used where the part has terms or runs of the contrast
  void* scratch;         // covarianceScratch bytes, 64-aligned
  const qks_cancel* cancel;
};

// ---- svd ----

struct SvdTask {
  const void* matrix;
  int32_t dtype;  // QKS_F32 or QKS_F64
  int32_t rows, cols;
  int32_t mode;
  double energy;
  int32_t rank, maxRank;
  uint64_t seed;
  void* scratch;  // svdScratch bytes, 64-aligned
  // Results. ut [most, rows] and vt [most, cols] hold the vectors as rows; s [most]; inside scratch.
  double *ut, *s, *vt;
  int32_t found;
  double totalEnergy, errorBound;
  uint8_t converged;
};

struct Kernels {
  const char* name;
  size_t (*covarianceScratch)(const PreparedBatch&, int heads);
  // QKS_OK, QKS_E_ABORTED, or QKS_E_NON_FINITE (the caller then looks for the row).
  int32_t (*covariance)(const CovarianceTask&);
  size_t (*svdScratch)(int32_t rows, int32_t cols);
  // QKS_OK or QKS_E_NON_FINITE.
  int32_t (*svd)(SvdTask&);
};

extern const Kernels kernelsBaseline;
#if defined(QKS_X86)
extern const Kernels kernelsAvx2;
extern const Kernels kernelsAvx512;
#endif
#if defined(QKS_ARM64)
extern const Kernels kernelsNeon;
#endif

}  // namespace qkspace
