// The kernels for AVX2, FMA and F16C.
#include "cpu/kernels.h"
#include "cpu/vectors/before_target.h"

#if defined(QKS_X86)
#define QKS_VECTORS_AVX2 1
#define QKS_TARGET "avx2,fma,f16c"
#include "cpu/vectors/target_begin.h"

#include "cpu/covariance/kernel.h"
#include "cpu/flips/kernel.h"
#include "cpu/svd/kernel.h"

namespace qkspace {

extern const Kernels kernelsAvx2 = {"avx2",    covarianceScratch, covarianceHeads, svdScratch,
                                    svdMatrix, flipsScratch,      flipsHead};

}  // namespace qkspace

#include "cpu/vectors/target_end.h"
#endif
