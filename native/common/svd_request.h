// What every backend refuses of a request for decompositions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/status.h"

namespace qkspace {

// Triplets of each matrix where that is known before it is decomposed, -1 where it is not.
inline int32_t knownWidth(const qks_svd_request& r) {
  const int32_t most = static_cast<int32_t>(std::min(r.rows, r.cols));
  return r.mode == QKS_SVD_FULL ? most : r.mode == QKS_SVD_RANK ? std::min(r.rank, most) : -1;
}

// Throws a Failure that says what is wrong.
inline void checkSvdRequest(const qks_svd_request& r) {
  if (r.n < 0 || r.rows < 1 || r.cols < 1 || r.rows > 4096 || r.cols > 4096) {
    fail(QKS_E_SHAPE, "matrices must be [n, rows, cols] with rows and cols from 1 to 4096");
  }
  if (r.dtype != QKS_F32 && r.dtype != QKS_F64) {
    fail(QKS_E_ARGUMENT, "matrices must be f32 or f64");
  }
  if (r.out_dtype != QKS_F32 && r.out_dtype != QKS_F64) {
    fail(QKS_E_ARGUMENT, "results must be f32 or f64");
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

// Whether there is a place for the vectors exactly where their width is known.
inline void checkSvdVectors(const qks_svd_request& r, const qks_svd_vectors* vectors) {
  if ((vectors != nullptr) != (knownWidth(r) >= 0)) {
    fail(QKS_E_ARGUMENT, vectors ? "by energy, vectors are read later" : "there is no place for the vectors");
  }
}

}  // namespace qkspace
