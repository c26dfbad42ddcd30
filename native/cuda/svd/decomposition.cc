#include "cuda/svd/decomposition.h"

#include <algorithm>
#include <cstddef>

namespace qkspace {

void readDecomposition(const CudaDecomposition& from, double* u, double* s, double* v) {
  const size_t width = static_cast<size_t>(from.maxRank), rows = static_cast<size_t>(from.rows);
  const size_t cols = static_cast<size_t>(from.cols);
  for (size_t i = 0; i < static_cast<size_t>(from.n); i++) {
    const size_t rank = static_cast<size_t>(from.ranks[i]);
    const double* vectors = from.vectors[i];
    auto spread = [&](const double* source, size_t count, double* to) {
      if (rank == width) {
        std::copy_n(source, count * width, to);
        return;
      }
      for (size_t a = 0; a < count; a++, to += width) {
        std::copy_n(source + a * rank, rank, to);
        std::fill_n(to + rank, width - rank, 0.0);
      }
    };
    spread(vectors, rows, u + i * rows * width);
    spread(from.values[i].data(), 1, s + i * width);
    spread(vectors + rank * rows, cols, v + i * cols * width);
  }
}

}  // namespace qkspace
