// Largest singular values of many matrices that differ only in the weights of the same products: what a permutation
// test compares.
#pragma once

#include "abi.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/transfer.h"

namespace qkspace {

// out [heads, draws]
void largestOfProducts(Device& device, Transfer& transfer, const qks_products_request& request,
                       const qks_cancel* cancel, double* out);

}  // namespace qkspace
