// Largest singular values of many matrices that differ only in the signs of their units: what a sign-flip test
// compares.
#pragma once

#include "abi.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"

namespace qkspace {

// out [head_count, draws, components]
void largestOfFlips(Device& device, Transfer& transfer, const qks_flips_request& request, const qks_cancel* cancel,
                    double* out);

}  // namespace qkspace
