// The kernels for AVX-512 (F, DQ, BW, VL).
#include "cpu/kernels.h"
#include "cpu/vectors/before_target.h"

#if defined(QKS_X86)
#define QKS_VECTORS_AVX512 1
#define QKS_TARGET "avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl"
#include "cpu/vectors/target_begin.h"

#include "cpu/covariance/kernel.h"
#include "cpu/flips/kernel.h"
#include "cpu/svd/kernel.h"

namespace qkspace {

extern const Kernels kernelsAvx512 = {"avx512",  covarianceScratch, covarianceHeads, svdScratch,
                                      svdMatrix, flipsScratch,      flipsHead};

}  // namespace qkspace

#include "cpu/vectors/target_end.h"
#endif
