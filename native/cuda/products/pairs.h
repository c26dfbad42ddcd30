// Covariance sums of pairs of rows: what all explicit terms and label sequences come down to, once the keys of each of
// their sets are one row (key_rows.h). Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/products/layout.cuh"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"
#include "cuda/runtime/device.h"

namespace qkspace {

// One side of pairs. Pair t has query row query[t] and key row key[t] of k, or row t - firstKey where there is no list.
struct PairSide {
  const int32_t* query;
  const float* queryScale;  // weight of the query in the q-sum; null: 1
  DeviceRows k;
  const int32_t* key;  // or null
  int32_t firstKey;

  __device__ int32_t keyRow(int32_t pair) const { return key ? key[pair] : pair - firstKey; }
};

struct DevicePairs {
  DeviceRows q;
  PairSide side[2];
};

// The kernels, by what they multiply with.
enum class PairKernel : int32_t {
  kWgmma16,  // hopper/pairs16.cu: 16-bit rows of one type on both sides, all weights 1, d a multiple of 8
  kWgmma32,  // hopper/pairs32.cu: queries of any type, keys in f32
  kMma16,    // mma/pairs16.cu: as kWgmma16
  kMma32     // mma/pairs32.cu: rows of any type
};

// The fastest kernel of the device for such pairs. `direct`: both key rows of every pair are rows of the batch, and all
// weights are 1.
PairKernel pairKernelFor(const Device&, int32_t queryType, int32_t keyType, int32_t d, bool direct);
// Whether the kernel reads key rows of that type; otherwise they have to be made f32 (key_rows.h).
bool readsKeysOf(PairKernel, int32_t keyType);
// Rows that a kernel sums in f32 at most, before sums are added in f64.
int32_t mostSliceRows(PairKernel);

// For every slice, head and side:  qk += sum_t q_t k_t^T,  q += sum_t u_t q_t,  k += sum_t k_t.  `oneQuery`: both sides
// have the same queries with the same weights. Slices count pairs as the lists do. partial: layout.cuh.
void sumPairs(cudaStream_t, PairKernel, const CovarianceShape&, const DevicePairs&, bool oneQuery, const Slice* slices,
              int32_t count, float* partial);

}  // namespace qkspace
