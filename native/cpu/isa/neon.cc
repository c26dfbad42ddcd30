// The kernels for 64-bit ARM, where NEON is always there.
#include "cpu/kernels.h"
#include "cpu/vectors/before_target.h"

#if defined(QKS_ARM64)
#define QKS_VECTORS_NEON 1

#include "cpu/covariance/kernel.h"
#include "cpu/flips/kernel.h"
#include "cpu/svd/kernel.h"

namespace qkspace {

extern const Kernels kernelsNeon = {"neon",    covarianceScratch, covarianceHeads, svdScratch,
                                    svdMatrix, flipsScratch,      flipsHead};

}  // namespace qkspace

#endif
