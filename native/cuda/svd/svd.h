// Truncated singular value decompositions of a batch of matrices on the GPU.
#pragma once

#include "abi.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"
#include "cuda/svd/decomposition.h"
#include "cuda/svd/workspace.h"

namespace qkspace {

// Arithmetic runs on device.stream. While a batch of matrices is worked on, the next one is copied to the device and
// the vectors of the one before are copied back, straight to `vectors` where that is not null: where the width is known
// (common/svd_request.h). Otherwise they are kept in `out`.
void decompose(Device& device, Transfer& transfer, SvdWorkspace& workspace, const qks_svd_request& request,
               const qks_cancel* cancel, qks_svd_summary& summary, const qks_svd_vectors* vectors,
               CudaDecomposition& out);

}  // namespace qkspace
