// Truncated singular value decompositions of a batch of matrices on the GPU.
#pragma once

#include <vector>

#include "abi.h"
#include "cuda/device.h"
#include "cuda/transfer.h"

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

// Memory that decompositions use in turn.
struct SvdRoom final : Kept {
  DeviceBuffer raw[2], matrices, transposed, y, v, small, packed, scratch;
  PinnedBuffer answers;

  explicit SvdRoom(MemoryBudget& budget)
      : Kept(budget), raw{DeviceBuffer(budget), DeviceBuffer(budget)}, matrices(budget), transposed(budget), y(budget),
        v(budget), small(budget), packed(budget), scratch(budget) {}
  size_t bytes() const override;
  void release() override;
};

// Arithmetic runs on device.stream. While a batch of matrices is worked on, the next one is copied to the device and
// the vectors of the one before are copied back.
void decompose(Device& device, Transfer& transfer, SvdRoom& room, const qks_svd_request& request,
               const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out);

// u [n, rows, maxRank], s [n, maxRank], v [n, cols, maxRank], zero-padded, in host memory.
void readDecomposition(const CudaDecomposition& from, double* u, double* s, double* v);

}  // namespace qkspace
