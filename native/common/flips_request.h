// What every backend refuses of a request for matrices that differ in signs.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "common/status.h"

namespace qkspace {

// Sizes of a request that has been checked.
struct FlipsShape {
  int32_t heads, d, group;  // of q; query head h reads key head h / group
};

// `q` and `k`: shapes of what was uploaded. Throws a Failure that says what is wrong.
inline FlipsShape checkFlipsRequest(const qks_flips_request& r, const qks_tensor& q, const qks_tensor& k) {
  const auto text = [](int64_t x) { return std::to_string(x); };
  const int64_t heads = q.shape[2], kvHeads = k.shape[2], d = q.shape[3];
  if (heads < 1 || d < 1 || d > 4096) {
    fail(QKS_E_SHAPE, "q must have heads of a dimension from 1 to 4096");
  }
  if (k.shape[3] != d) {
    fail(QKS_E_SHAPE, "q and k differ in head dimension");
  }
  if (kvHeads < 1 || heads % kvHeads != 0) {
    fail(QKS_E_SHAPE, "the heads of k do not divide those of q");
  }
  if (r.draws < 1 || r.draws > 65535) {
    fail(QKS_E_ARGUMENT, "draws must be from 1 to 65535");
  }
  if (r.rows < 1) {
    fail(QKS_E_ARGUMENT, "there are no rows");
  }
  for (const qks_tensor* t : {&q, &k}) {
    if (t->shape[0] * t->shape[1] != r.rows) {
      fail(QKS_E_SHAPE, std::string(t == &q ? "q" : "k") + " has " + text(t->shape[0] * t->shape[1]) +
                            " rows, coefficients has " + text(r.rows));
    }
  }
  if (r.units < 1 || r.units > r.rows) {
    fail(QKS_E_ARGUMENT, "unitCount must be from 1 to the number of rows");
  }
  if (r.rank < 0 || r.rank > d) {
    fail(QKS_E_ARGUMENT, "rank must be from 0 to the head dimension");
  }
  if (r.components < 1 || r.components > r.rank + 1) {
    fail(QKS_E_ARGUMENT, "components must be from 1 to one more than the rank");
  }
  if (r.threads < 0) {
    fail(QKS_E_ARGUMENT, "threads must not be negative");
  }
  for (int64_t i = 0; i < r.head_count; i++) {
    if (r.heads[i] < 0 || r.heads[i] >= heads) {
      fail(QKS_E_RANGE,
           "heads[" + text(i) + "] is " + text(r.heads[i]) + ", expected a head from 0 to " + text(heads - 1));
    }
  }
  for (int64_t i = 0; i < r.rows; i++) {
    if (!std::isfinite(r.coefficients[i])) {
      fail(QKS_E_ARGUMENT, "coefficients[" + text(i) + "] is not finite");
    }
    const int32_t before = i == 0 ? -1 : r.unit[i - 1];
    if ((r.unit[i] != before || i == 0) && r.unit[i] != before + 1) {
      fail(QKS_E_RANGE, "units[" + text(i) + "] is " + text(r.unit[i]) + ", expected " +
                            (i == 0 ? std::string("0") : text(before) + " or " + text(before + 1)));
    }
  }
  if (r.unit[r.rows - 1] != r.units - 1) {
    fail(QKS_E_RANGE, "units ends at " + text(r.unit[r.rows - 1]) + ", expected " + text(r.units - 1));
  }
  const int64_t basis = r.head_count * d * r.rank;
  for (int64_t i = 0; i < basis; i++) {
    if (!std::isfinite(r.u[i]) || !std::isfinite(r.v[i])) {
      fail(QKS_E_ARGUMENT, "u or v is not finite");
    }
  }
  return {static_cast<int32_t>(heads), static_cast<int32_t>(d), static_cast<int32_t>(heads / kvHeads)};
}

}  // namespace qkspace
