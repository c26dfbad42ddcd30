// How many triplets are asked for, and what those that a panel has found so far say about it.
#pragma once

#include <cuda_runtime.h>

#include "abi.h"

namespace qkspace {

enum PanelVerdict { kTooNarrow = -1, kHopeless = -2, kGoOn = -3 };

// Residuals (squared, of the energy) below which triplets are taken: 3e-7 of the matrix in norm.
constexpr double kSettledResidual = 1e-13;

struct RankRule {
  int mode, rank, maxRank;
  double energy;
};

// What the triplets say: the rank, or what to do. `order` lists s from the largest down.
__device__ inline int judge(const RankRule& rule, const double* s, const int* order, const double* residuals, int b,
                            int n, double total, double before, bool slow, double* residual) {
  int r = 0;
  double captured = 0;
  if (rule.mode == QKS_SVD_RANK) {
    r = rule.rank < n ? rule.rank : n;
  }
  for (int i = 0; i < b; i++) {
    captured += s[order[i]] * s[order[i]];
    if (rule.mode == QKS_SVD_ENERGY && r == 0 && (captured >= rule.energy * total || i + 1 == rule.maxRank)) {
      r = i + 1;
    }
  }
  *residual = before;
  if (r == 0) {
    // A vector more can add no more than about the weaker ones here did.
    const double weak = s[order[3 * b / 4]];
    const int affordable = n / 3 - b;
    return rule.energy * total - captured > weak * weak * affordable ? kHopeless : kTooNarrow;
  }
  if (r + (r / 4 > 4 ? r / 4 : 4) > b) {
    return kTooNarrow;
  }
  double left = 0, below = 0, reached = 0;
  for (int i = 0; i < r; i++) {
    left += residuals[order[i]];
    if (i < r - 1) {
      below += s[order[i]] * s[order[i]];
    }
    reached += s[order[i]] * s[order[i]];
  }
  *residual = left;
  if (left <= kSettledResidual * total) {
    if (rule.mode == QKS_SVD_RANK) {
      return s[order[r - 1]] > 0 ? r : kHopeless;
    }
    const double doubt = 100 * left + 1e-13 * total, goal = rule.energy * total;
    if ((reached >= goal + doubt && below + doubt < goal) || (r == rule.maxRank && reached + doubt < goal)) {
      return r;
    }
    if (left <= 1e-17 * total) {
      return kHopeless;
    }
  }
  return slow && left > before / 30 ? kHopeless : kGoOn;
}

}  // namespace qkspace
