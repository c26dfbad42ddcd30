// Truncated singular value decompositions of a batch of matrices on the GPU.
#pragma once

#include <vector>

#include "abi.h"
#include "cuda/device.h"

namespace qkspace {

// Triplets wait on the host, as long as they were found to be: u [rows, rank], then v [cols, rank], row-major.
struct CudaDecomposition {
  int64_t n = 0, rows = 0, cols = 0;
  int32_t maxRank = 0;
  std::vector<int32_t> ranks;
  std::vector<std::vector<double>> values;   // [n][rank]
  std::vector<std::vector<double>> batches;  // of vectors
  std::vector<const double*> vectors;        // [n], into the batches
};

// Runs on device.stream, with the matrices of a batch copied while the one before is worked on.
void decompose(Device& device, const qks_svd_request& request, const qks_cancel* cancel, qks_svd_summary& summary,
               CudaDecomposition& out);

// u [n, rows, maxRank], s [n, maxRank], v [n, cols, maxRank], zero-padded, in host memory.
void readDecomposition(const CudaDecomposition& from, double* u, double* s, double* v);

}  // namespace qkspace
