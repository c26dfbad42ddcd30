#include "cuda/svd/choose_rank.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "abi.h"

namespace qkspace {
namespace {

// The fewest triplets that reach the rule's part of the energy.
int32_t rankByEnergy(const SvdShape& shape, const RankRule& rule, const double* squares, const int32_t* order) {
  double all = 0, sum = 0;
  for (int32_t j = 0; j < shape.n; j++) {
    all += squares[order[j]];
  }
  int32_t found = all == 0 ? 0 : shape.n;
  for (int32_t j = 0; j < shape.n && all > 0; j++) {
    sum += squares[order[j]];
    if (sum >= rule.energy * all) {
      found = j + 1;
      break;
    }
  }
  return rule.maxRank > 0 ? std::min(found, rule.maxRank) : found;
}

}  // namespace

RankChoice chooseRank(const SvdShape& shape, const RankRule& rule, double total, const double* squares, bool full,
                      int32_t found, int32_t* order) {
  const size_t n = static_cast<size_t>(shape.n);
  const double eps = 2.220446049250313e-16, slack = 8 * eps * shape.m, least = leastSquare(shape.n, total);
  for (size_t j = 0; j < n; j++) {
    order[j] = static_cast<int32_t>(j);
  }
  std::stable_sort(order, order + n, [&](int32_t a, int32_t b) { return squares[a] > squares[b]; });
  if (full) {
    found = shape.n;
    if (rule.mode == QKS_SVD_RANK) {
      found = std::min(rule.rank, shape.n);
    }
    if (rule.mode == QKS_SVD_ENERGY) {
      found = rankByEnergy(shape, rule, squares, order);
    }
  }
  int32_t live = 0;
  while (live < found && squares[order[live]] > least) {
    live++;
  }
  if (full) {
    double left = 0;
    for (int32_t j = shape.n - 1; j >= live; j--) {
      left += squares[order[j]];
    }
    return {found, live, total > 0 ? std::sqrt(left / total) + slack : 0.0};
  }
  double kept = 0;
  for (int32_t j = 0; j < found; j++) {
    kept += squares[order[j]];
  }
  // The difference of two sums that may agree in all digits; what they may hide is added.
  return {found, live, std::sqrt((total > kept ? (total - kept) / total : 0.0) + 64 * eps) + slack};
}

}  // namespace qkspace
