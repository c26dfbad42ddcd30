// Decompositions of many matrices: parallel over matrices. Where the width of the result is known, each is written to
// its place at once; elsewhere they are kept at their own rank until read.
#pragma once

#include <cstdint>
#include <vector>

#include "common/pool.h"
#include "cpu/kernels.h"
#include "cpu/memory/arena.h"
#include "cpu/memory/workspace.h"

namespace qkspace {

struct Decomposition {
  int64_t n = 0, rows = 0, cols = 0;
  int32_t maxRank = 0, outDtype = QKS_F64;
  std::vector<int32_t> ranks;
  std::vector<const double*> vectors;  // per matrix: ut [rank, rows], s [rank], vt [rank, cols]; none where not kept
  std::vector<Arena> arenas;           // of the threads that made them
};

// `vectors`: null where the width is not known (common/svd_request.h).
void decompose(const qks_svd_request& request, const Kernels& kernels, Pool& pool, Workspace& workspace,
               const qks_cancel* cancel, qks_svd_summary& summary, const qks_svd_vectors* vectors, Decomposition& out);

void readDecomposition(const Decomposition& from, Pool& pool, const qks_svd_vectors& to);

}  // namespace qkspace
