// Largest singular values of many matrices that differ only in the signs of their units: what a sign-flip test
// compares.
#pragma once

#include "abi.h"
#include "common/pool.h"
#include "cpu/kernels.h"
#include "cpu/memory/workspace.h"

namespace qkspace {

// out [head_count, draws, components]; q and k with their data. The same bits for any number of threads and however the
// draws are divided over calls.
void largestOfFlips(const qks_flips_request& request, const Kernels& kernels, Pool& pool, Workspace& workspace,
                    const qks_cancel* cancel, double* out);

}  // namespace qkspace
