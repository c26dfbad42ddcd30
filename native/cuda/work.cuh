// What a launch of the covariance kernels works through: slices of the terms of one contrast, and where their sums
// go. A slice's sums are f32 and its length is bounded; slices are added in f64, in their order.
//
//   partial [slices of the launch, heads, side, block]     block = q [d], k [d], qk [d, d]
//   sums    [contrasts, heads, side, block] in f64
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows.cuh"

namespace qkspace {

// Terms [from, to) of a contrast, in order of contrast; of a label run, its own terms.
struct Slice {
  int32_t contrast;
  int32_t run;  // of label terms
  int32_t from, to;
};

// One side of explicit terms, in order of contrast.
struct DeviceTerms {
  const int32_t* query;
  const int32_t* keyStart;
  const int32_t* keyCount;
  const int32_t* keys;
  const float* keyWeights;  // or null
  const float* keyScale;    // factor of the weighted key sum
  const float* queryScale;  // weight of the query in the q-sum
};

// One label-matched sequence (see LabelTerm in common/prepared_batch.h); offsets into arrays of all sequences.
struct DeviceRun {
  int32_t labels;
  int32_t firstTerm, firstKey;
};

struct DeviceLabels {
  const DeviceRun* runs;
  const int32_t *query, *label, *selfKey, *keysBefore;  // per term
  const float *positiveScale, *negativeScale;           // of the key sums
  const float *positiveQueryScale, *negativeQueryScale;
  const int32_t *keyRow, *keyLabel;                     // per key

  __device__ const float* scale(int32_t side) const { return side == 0 ? positiveScale : negativeScale; }
  __device__ const float* queryScale(int32_t side) const {
    return side == 0 ? positiveQueryScale : negativeQueryScale;
  }
};

// Rows of a slice, whose sums are made in f32: of any terms (product.cuh), and of 16-bit pairs.
constexpr int kSliceRows = 768, kPairSliceRows = 4096;

// Why a launch's sums cannot be taken as they are.
enum : uint32_t { kBeyondF32 = 1, kNotFinite = 2 };

// Magnitudes (as the bits of an f32) outside of which sums of products may leave the range of f32. Infinity and NaN
// are above. Zero is fine.
__host__ __device__ inline bool outsideSafeRange(uint32_t largest) {
  return largest != 0 && (largest > (127u + 40) << 23 || largest < (127u - 40) << 23);
}

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

}  // namespace qkspace
