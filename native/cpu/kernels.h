// What an instruction set provides: three entry points, compiled once for each set from cpu/covariance/kernel.h,
// cpu/svd/kernel.h and cpu/flips/kernel.h. Plain structs and raw pointers only: a template of the standard library instantiated under a wider
// instruction set could be the copy that the linker keeps for all.
#pragma once

#include "cpu/covariance/task.h"
#include "cpu/flips/task.h"
#include "cpu/svd/task.h"
#include "cpu/vectors/platform.h"

namespace qkspace {

struct Kernels {
  const char* name;
  size_t (*covarianceScratch)(const PreparedBatch&, int heads);
  // QKS_OK, QKS_E_ABORTED, or QKS_E_NON_FINITE (the caller then looks for the row).
  int32_t (*covariance)(const CovarianceTask&);
  size_t (*svdScratch)(int32_t rows, int32_t cols);
  // QKS_OK or QKS_E_NON_FINITE.
  int32_t (*svd)(SvdTask&);
  size_t (*flipsScratch)(int32_t d, int32_t draws, int32_t stripRows);
  // QKS_OK or QKS_E_ABORTED.
  int32_t (*flips)(const FlipsTask&);
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
