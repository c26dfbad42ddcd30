// What is found: triplets of all matrices of a request, on the host.
#pragma once

#include <cstdint>
#include <vector>

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

// u [n, rows, maxRank], s [n, maxRank], v [n, cols, maxRank], zero-padded, in host memory.
void readDecomposition(const CudaDecomposition& from, double* u, double* s, double* v);

}  // namespace qkspace
