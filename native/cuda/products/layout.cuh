// Where the sums of a launch lie. A slice (cuda/rows/device_terms.cuh) is summed in f32 and its length is bounded; the
// sums of slices are added in f64, in their order.
//
//   partial [slices of the launch, heads, side, block]     block = q [d], k [d], qk [d, d]
//   sums    [contrasts, heads, side, block] in f64
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace qkspace {

struct CovarianceShape {
  int32_t heads, kvHeads, d;
};

// The block of a side in partial sums, and in sums.
__host__ __device__ inline int64_t blockSize(int32_t d) { return static_cast<int64_t>(d) * d + 2 * d; }
__host__ __device__ inline int64_t blockOffset(int64_t first, int32_t head, int32_t heads, int32_t side, int32_t d) {
  return ((first * heads + head) * 2 + side) * blockSize(d);
}

// Output tiles that cover d x d, `rows` x `columns` each.
__host__ __device__ inline int32_t tilesAlong(int32_t d, int32_t size) { return (d + size - 1) / size; }
inline uint32_t tilesOf(int32_t d, int32_t rows, int32_t columns) {
  return static_cast<uint32_t>(tilesAlong(d, rows) * tilesAlong(d, columns));
}
struct TilePlace {
  int32_t row, column;  // in elements
};
// Tiles of the same query columns are neighbours in launch order.
__host__ __device__ inline TilePlace tilePlace(uint32_t index, int32_t d, int32_t rows, int32_t columns) {
  const uint32_t across = static_cast<uint32_t>(tilesAlong(d, columns));
  return {static_cast<int32_t>(index / across) * rows, static_cast<int32_t>(index % across) * columns};
}

// Columns of a tile that kernels take for that d.
inline int32_t tileColumns(int32_t d) { return d <= 64 ? 64 : 128; }

}  // namespace qkspace
