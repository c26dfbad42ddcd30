// What is found by energy: triplets of all matrices of a request, on the host until they are read.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"
#include "common/pages.h"
#include "common/pool.h"

namespace qkspace {

// Of a batch: u [rows, rank] of each matrix after the other, then v [cols, rank], row-major, as long as they were found
// to be and of the type that was asked for.
struct CudaDecomposition {
  int64_t n = 0, rows = 0, cols = 0;
  int32_t maxRank = 0, outDtype = QKS_F64;
  std::vector<int32_t> ranks;
  std::vector<std::vector<double>> values;  // [n][rank]
  std::vector<Pages> batches;
  std::vector<const char*> u, v;  // [n], into the batches
};

// u [n, rows, maxRank], s [n, maxRank], v [n, cols, maxRank], zero-padded, in host memory.
void readDecomposition(const CudaDecomposition& from, Pool& pool, const qks_svd_vectors& to);

}  // namespace qkspace
