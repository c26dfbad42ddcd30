// The keys of a set as one row: kbar = scale * sum_j a_j k_j. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Where key rows of pairs [first, first + count) of a side go: out [count, kvHeads, d] in f32. Raises `largest`
// [kvHeads] to the largest magnitude of each key head (magnitudes.cuh).
struct KeyRows {
  int32_t first, count;
  float* out;
  uint32_t* largest;

  DeviceRows rows(const DeviceRows& k) const { return {out, QKS_F32, k.heads, k.d}; }
};

// One side of explicit terms, up to 32 keys summed in f32 and sums of 32 in f64. Row t belongs to term first + t.
void sumKeySets(cudaStream_t, const DeviceRows& k, const DeviceTerms& side, const KeyRows& to);

// Both sides of label-matched terms; `to` counts the terms of all runs. Slices count those of their runs. Running sums
// of keys by label are kept in f64, in `running`: runningSums(...) doubles a slice.
void sumLabelledKeys(cudaStream_t, const DeviceRows& k, const DeviceLabels&, const Slice* slices, int32_t count,
                     int32_t mostLabels, double* running, const KeyRows (&to)[2]);
inline int64_t runningSums(int32_t kvHeads, int32_t d, int32_t mostLabels) {
  return static_cast<int64_t>(kvHeads) * mostLabels * d;
}

}  // namespace qkspace
