// Many matrices that differ only in the weights of the same products, and their largest singular values: what a
// permutation test compares.
#pragma once

#include <cstdint>

#include "cuda/covariance.h"
#include "cuda/device.h"
#include "cuda/transfer.h"

namespace qkspace {

// out [heads, draws]
void largestOfProducts(Device& device, Transfer& transfer, const qks_products_request& request,
                       const qks_cancel* cancel, double* out);

}  // namespace qkspace
