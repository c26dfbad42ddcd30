// The terms of a batch as kernels read them: plain arrays on the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

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
  const int32_t *keyRow, *keyLabel;  // per key

  __device__ const float* scale(int32_t side) const { return side == 0 ? positiveScale : negativeScale; }
  __device__ const float* queryScale(int32_t side) const { return side == 0 ? positiveQueryScale : negativeQueryScale; }
};

}  // namespace qkspace
