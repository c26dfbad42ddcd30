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

// Rows of a slice, whose sums are made in f32: of any terms (tf32_product.cuh), and of 16-bit pairs.
constexpr int kSliceRows = 768, kPairSliceRows = 4096;

// The block of a side in partial sums, and in sums.
__host__ __device__ inline int64_t blockSize(int32_t d) { return static_cast<int64_t>(d) * d + 2 * d; }
__host__ __device__ inline int64_t blockOffset(int64_t first, int32_t head, int32_t heads, int32_t side, int32_t d) {
  return ((first * heads + head) * 2 + side) * blockSize(d);
}

// Output tiles of `size` columns that cover d x d, and the place of one.
__host__ __device__ inline int32_t tilesAlong(int32_t d, int32_t size) { return (d + size - 1) / size; }
struct TilePlace {
  int32_t side, row, column;  // row, column: in elements
};
// Both sides of a tile are neighbours in launch order: they read the same queries.
__host__ __device__ inline TilePlace tilePlace(uint32_t index, int32_t d, int32_t size) {
  const uint32_t along = static_cast<uint32_t>(tilesAlong(d, size));
  return {static_cast<int32_t>(index % 2), static_cast<int32_t>(index / 2 / along) * size,
          static_cast<int32_t>(index / 2 % along) * size};
}

// Tiles that cover d x d, of the size that kernels take for that d.
inline int32_t outputTiles(int32_t d) {
  const int32_t along = tilesAlong(d, d <= 64 ? 64 : 128);
  return along * along;
}

}  // namespace qkspace
