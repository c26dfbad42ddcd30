#include "cpu/svd/decompose.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>

#include "common/status.h"
#include "common/svd_request.h"

namespace qkspace {
namespace {

// Rows c < rank of `from` [rank, length] as columns of `to` [length, width], the others zeros.
template <typename T>
void transposeTo(const double* from, int64_t length, int64_t rank, int64_t width, T* to) {
  for (int64_t a = 0; a < length; a++) {
    for (int64_t c = 0; c < width; c++) {
      to[a * width + c] = c < rank ? static_cast<T>(from[c * length + a]) : T(0);
    }
  }
}

template <typename T>
void place(const double* ut, const double* s, const double* vt, int64_t i, int64_t rows, int64_t cols, int64_t rank,
           int64_t width, const qks_svd_vectors& to) {
  transposeTo(ut, rows, rank, width, static_cast<T*>(to.u) + i * rows * width);
  transposeTo(s, 1, rank, width, static_cast<T*>(to.s) + i * width);
  transposeTo(vt, cols, rank, width, static_cast<T*>(to.v) + i * cols * width);
}

}  // namespace

void decompose(const qks_svd_request& r, const Kernels& kernels, Pool& pool, Workspace& workspace,
               const qks_cancel* cancel, qks_svd_summary& summary, const qks_svd_vectors* vectors, Decomposition& out) {
  checkSvdRequest(r);
  checkSvdVectors(r, vectors);
  const auto placeAs = r.out_dtype == QKS_F32 ? place<float> : place<double>;
  const int64_t size = r.rows * r.cols;
  out.n = r.n;
  out.rows = r.rows;
  out.cols = r.cols;
  out.outDtype = r.out_dtype;
  out.ranks.assign(static_cast<size_t>(r.n), 0);
  out.vectors.assign(vectors ? 0 : static_cast<size_t>(r.n), nullptr);
  const int used = pool.used(r.threads, r.n);
  out.arenas.resize(static_cast<size_t>(used));
  const size_t bytes = kernels.svdScratch(static_cast<int32_t>(r.rows), static_cast<int32_t>(r.cols));
  for (int i = 0; i < used; i++) {
    workspace.scratch[static_cast<size_t>(i)].reserve(bytes);
  }

  std::atomic<int32_t> status{QKS_OK};
  std::atomic<int64_t> badMatrix{std::numeric_limits<int64_t>::max()};
  pool.run(r.threads, r.n, [&](int64_t i, int worker) {
    if (status == QKS_E_ABORTED || status == QKS_E_OUT_OF_MEMORY) {
      return;
    }
    if (cancelled(cancel)) {
      status = QKS_E_ABORTED;
      return;
    }
    SvdTask t;
    const size_t element = r.dtype == QKS_F32 ? sizeof(float) : sizeof(double);
    t.matrix = static_cast<const char*>(r.matrices) + static_cast<size_t>(i * size) * element;
    t.dtype = r.dtype;
    t.rows = static_cast<int32_t>(r.rows);
    t.cols = static_cast<int32_t>(r.cols);
    t.mode = r.mode;
    t.energy = r.energy;
    t.rank = r.rank;
    t.maxRank = r.max_rank;
    t.seed = r.seed;
    t.scratch = workspace.scratch[static_cast<size_t>(worker)].get();
    const int32_t result = kernels.svd(t);
    if (result == QKS_E_NON_FINITE) {
      int64_t known = badMatrix.load();
      while (i < known && !badMatrix.compare_exchange_weak(known, i)) {
      }
      return;
    }
    const size_t rank = static_cast<size_t>(t.found);
    if (vectors) {
      placeAs(t.ut, t.s, t.vt, i, r.rows, r.cols, t.found, knownWidth(r), *vectors);
    } else {
      try {
        const size_t rows = rank * static_cast<size_t>(r.rows), cols = rank * static_cast<size_t>(r.cols);
        double* to = out.arenas[static_cast<size_t>(worker)].take(rows + rank + cols);
        std::copy_n(t.ut, rows, to);
        std::copy_n(t.s, rank, to + rows);
        std::copy_n(t.vt, cols, to + rows + rank);
        out.vectors[static_cast<size_t>(i)] = to;
      } catch (...) {
        status = QKS_E_OUT_OF_MEMORY;
        return;
      }
    }
    out.ranks[static_cast<size_t>(i)] = t.found;
    summary.ranks[i] = t.found;
    summary.total_energy[i] = t.totalEnergy;
    summary.error_bound[i] = t.errorBound;
    summary.converged[i] = t.converged;
  });
  if (status == QKS_E_ABORTED) {
    fail(QKS_E_ABORTED, "the operation was aborted");
  }
  if (status == QKS_E_OUT_OF_MEMORY) {
    throw std::bad_alloc();
  }
  if (badMatrix != std::numeric_limits<int64_t>::max()) {
    fail(QKS_E_NON_FINITE, "matrix " + std::to_string(badMatrix.load()) + " has an entry that is not finite");
  }
  for (int32_t rank : out.ranks) {
    out.maxRank = std::max(out.maxRank, rank);
  }
  summary.max_rank = out.maxRank;
}

void readDecomposition(const Decomposition& from, Pool& pool, const qks_svd_vectors& to) {
  const auto placeAs = from.outDtype == QKS_F32 ? place<float> : place<double>;
  pool.run(0, from.n, [&](int64_t i, int) {
    const int64_t rank = from.ranks[static_cast<size_t>(i)];
    const double* ut = from.vectors[static_cast<size_t>(i)];
    const double* values = ut + rank * from.rows;
    placeAs(ut, values, values + rank, i, from.rows, from.cols, rank, from.maxRank, to);
  });
}

}  // namespace qkspace
