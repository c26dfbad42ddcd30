#include "cuda/svd/decomposition.h"

#include <algorithm>
#include <cstddef>

namespace qkspace {
namespace {

// `from` [count, rank] in `to` [count, width].
template <typename From, typename T>
void spread(const From* from, size_t count, size_t rank, size_t width, T* to) {
  for (size_t a = 0; a < count; a++, to += width) {
    for (size_t c = 0; c < width; c++) {
      to[c] = c < rank ? static_cast<T>(from[a * rank + c]) : T(0);
    }
  }
}

template <typename T>
void readAs(const CudaDecomposition& from, Pool& pool, const qks_svd_vectors& to) {
  const size_t width = static_cast<size_t>(from.maxRank), rows = static_cast<size_t>(from.rows);
  const size_t cols = static_cast<size_t>(from.cols);
  pool.run(0, from.n, [&](int64_t matrix, int) {
    const size_t i = static_cast<size_t>(matrix), rank = static_cast<size_t>(from.ranks[i]);
    spread(reinterpret_cast<const T*>(from.u[i]), rows, rank, width, static_cast<T*>(to.u) + i * rows * width);
    spread(from.values[i].data(), 1, rank, width, static_cast<T*>(to.s) + i * width);
    spread(reinterpret_cast<const T*>(from.v[i]), cols, rank, width, static_cast<T*>(to.v) + i * cols * width);
  });
}

}  // namespace

void readDecomposition(const CudaDecomposition& from, Pool& pool, const qks_svd_vectors& to) {
  if (from.outDtype == QKS_F32) {
    readAs<float>(from, pool, to);
  } else {
    readAs<double>(from, pool, to);
  }
}

}  // namespace qkspace
