// What every backend refuses of a request for decompositions.
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace qkspace {

// Throws a Failure that says what is wrong.
inline void checkSvdRequest(const qks_svd_request& r) {
  if (r.n < 0 || r.rows < 1 || r.cols < 1 || r.rows > 4096 || r.cols > 4096) {
    fail(QKS_E_SHAPE, "matrices must be [n, rows, cols] with rows and cols from 1 to 4096");
  }
  if (r.dtype != QKS_F32 && r.dtype != QKS_F64) {
    fail(QKS_E_ARGUMENT, "matrices must be f32 or f64");
  }
  const int64_t size = r.rows * r.cols;
  if (r.n > (int64_t{1} << 53) / size || r.length < r.n * size || (r.n > 0 && !r.matrices)) {
    fail(QKS_E_SHAPE, "matrices has " + std::to_string(r.length) + " elements, its shape needs n * rows * cols");
  }
  if (r.mode == QKS_SVD_ENERGY && !(r.energy > 0 && r.energy <= 1)) {
    fail(QKS_E_ARGUMENT, "energy must be above 0 and at most 1");
  }
  if (r.mode == QKS_SVD_RANK && r.rank < 0) {
    fail(QKS_E_ARGUMENT, "rank must not be negative");
  }
}

}  // namespace qkspace
