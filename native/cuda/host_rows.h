// Looking through rows in host memory for numbers that are not finite.
#pragma once

#include <cstdint>
#include <vector>

#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/covariance_kernels.h"

namespace qkspace {

// Whether one of the rows named is not finite, and the first head and row where it is.
bool findNonFiniteHostRow(const RowView& view, int32_t heads, int32_t d, const std::vector<int32_t>& rows, Pool& pool,
                          HeadRow& found);

}  // namespace qkspace
