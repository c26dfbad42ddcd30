// The rank of a decomposition, chosen on the host by the same rule as the CPU's.
#pragma once

#include <cstdint>

#include "cuda/svd/kernels/matrix_task.cuh"
#include "cuda/svd/kernels/rank_rule.cuh"

namespace qkspace {

struct RankChoice {
  int32_t found;  // the rank
  int32_t live;   // how many of those triplets have a singular value that is not rounding
  double error;   // bound of what the triplets leave of the matrix, in its norm
};

// `squares` [n] are those of the singular values, `total` the sum of squares of the entries; `order` [n] becomes the
// order of the triplets, from the largest down. `full`: all triplets are known; otherwise a panel has settled on
// `found` of them.
RankChoice chooseRank(const SvdShape& shape, const RankRule& rule, double total, const double* squares, bool full,
                      int32_t found, int32_t* order);

}  // namespace qkspace
