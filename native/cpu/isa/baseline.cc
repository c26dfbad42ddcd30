// The kernels for any processor: SSE2 on x86, plain C++ elsewhere.
#include "cpu/kernels.h"
#include "cpu/vectors/before_target.h"

#include "cpu/covariance/kernel.h"
#include "cpu/flips/kernel.h"
#include "cpu/svd/kernel.h"

namespace qkspace {

extern const Kernels kernelsBaseline = {"baseline", covarianceScratch, covarianceHeads, svdScratch,
                                        svdMatrix,  flipsScratch,      flipsHead};

}  // namespace qkspace
