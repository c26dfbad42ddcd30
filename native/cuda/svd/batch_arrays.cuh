// Per-matrix arrays of one batch.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/svd/kernels/prepare.cuh"

namespace qkspace {

// One entry a matrix, or n where it says so. The same layout on the device and in page-locked memory.
struct BatchArrays {
  PreparedMatrix* prepared;
  double *totals, *squares;              // squares: n
  int64_t* before;                       // triplets of the matrices before it
  int32_t *found, *live, *list, *order;  // order: n
  uint8_t* settled;

  BatchArrays() = default;
  BatchArrays(char* at, size_t batch, size_t n)
      : prepared(reinterpret_cast<PreparedMatrix*>(at)),
        totals(reinterpret_cast<double*>(prepared + batch)),
        squares(totals + batch),
        before(reinterpret_cast<int64_t*>(squares + batch * n)),
        found(reinterpret_cast<int32_t*>(before + batch)),
        live(found + batch),
        list(live + batch),
        order(list + batch),
        settled(reinterpret_cast<uint8_t*>(order + batch * n)) {}

  static size_t bytes(size_t n) {
    return sizeof(PreparedMatrix) + (1 + n) * sizeof(double) + sizeof(int64_t) + (3 + n) * sizeof(int32_t) + 1;
  }
};

}  // namespace qkspace
