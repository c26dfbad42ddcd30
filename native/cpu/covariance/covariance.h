// The accumulated sums of all heads and contrasts, and the order in which a batch reaches them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/batch.h"
#include "common/pool.h"
#include "cpu/kernels.h"
#include "cpu/memory/workspace.h"

namespace qkspace {

class Covariance {
 public:
  Covariance(const qks_spec& spec, const Kernels& kernels, Pool& pool, Workspace& workspace);

  void add(const qks_batch& batch, const qks_cancel* cancel);
  void merge(const qks_moments& moments);
  void read(const int32_t* heads, int32_t count, const qks_moments& out) const;

 private:
  HeadSums at(double* base, int64_t contrast, int64_t head, int64_t part = 0) const;
  // How the batch is shared out, when sums of all heads take `bytesEach`.
  std::vector<BatchPart> partsOf(const PreparedBatch& batch, double bytesEach) const;
  // Every row that head reads is finite; the largest magnitudes are returned through the pointers.
  bool scan(const PreparedBatch& batch, int32_t head, float* largestQ, float* largestK, std::string* where) const;
  [[noreturn]] void reportNonFinite(const PreparedBatch& batch) const;

  const qks_spec spec_;
  const Kernels& kernels_;
  Pool& pool_;
  Workspace& workspace_;
  int64_t block_;  // doubles of one (contrast, head): 2 * (d^2 + 2 d)
  std::vector<double> terms_, skipped_, weight_[2];
  Buffer sums_;  // [contrasts, heads, block]
};

}  // namespace qkspace
