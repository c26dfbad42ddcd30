// Key rows of label-matched terms. With S_l the running sum of the keys of label l that a query sees, and S that of all:
//
//   kbar+ = (S_label - own key) / n+,   kbar- = (S - S_label - own key) / n-     (n = 1 unless per-query)
//
// The sums run in f64, a column a thread, in global memory that stays in the first cache; a slice that starts inside a
// sequence first adds up the keys before it. O(T d) for T positions; no T x T matrix is made. Bytes: every key once a
// slice, and both sides' rows written; bound by the latency of one position after another, which many slices and key
// heads hide.
#include "cuda/rows/keys/key_rows.h"
#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 128;

// A thread's column of one slice and key head.
struct RunningColumn {
  const DeviceRows& k;
  const DeviceLabels& labels;
  const DeviceRun run;
  double* sums;  // [labels, d], this column
  int32_t keyHead, column;
  int32_t key = 0;  // of the run, the next to be added
  double total = 0;

  __device__ double load(int32_t j) const {
    return static_cast<double>(loadElement(k, rowOffset(k, labels.keyRow[run.firstKey + j], keyHead) + column));
  }

  __device__ void addUpTo(int32_t end) {
    for (; key < end; key++) {
      const int32_t label = labels.keyLabel[run.firstKey + key];
      if (label < 0) {
        continue;
      }
      const double x = load(key);
      sums[static_cast<int64_t>(label) * k.d] += x;
      total += x;
    }
  }

  // Both sides' sums for a term whose keys have been added.
  __device__ void sumsOf(int32_t term, double (&out)[2]) const {
    const int32_t label = labels.label[term], own = labels.selfKey[term];
    out[0] = sums[static_cast<int64_t>(label) * k.d];
    out[1] = total - out[0];
    const int32_t ownLabel = own >= 0 ? labels.keyLabel[run.firstKey + own] : -1;
    if (ownLabel >= 0) {
      out[ownLabel == label ? 0 : 1] -= load(own);
    }
  }
};

__global__ void __launch_bounds__(kThreads)
    labelledKeysKernel(DeviceRows k, DeviceLabels labels, const Slice* slices, int32_t mostLabels, double* running,
                       KeyRows positive, KeyRows negative) {
  const int32_t column = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  const int32_t keyHead = static_cast<int32_t>(blockIdx.y);
  const Slice slice = slices[blockIdx.z];
  const DeviceRun run = labels.runs[slice.run];
  uint32_t most[2] = {0, 0};
  if (column < k.d) {
    const int64_t block = static_cast<int64_t>(blockIdx.z) * k.heads + keyHead;
    RunningColumn sum{k, labels, run, running + block * mostLabels * k.d + column, keyHead, column};
    for (int32_t label = 0; label < run.labels; label++) {
      sum.sums[static_cast<int64_t>(label) * k.d] = 0;
    }
    for (int32_t t = run.firstTerm + slice.from; t < run.firstTerm + slice.to; t++) {
      sum.addUpTo(labels.keysBefore[t]);
      double both[2];
      sum.sumsOf(t, both);
      for (int side = 0; side < 2; side++) {
        const KeyRows& to = side == 0 ? positive : negative;
        const float x = static_cast<float>(both[side] * static_cast<double>(labels.scale(side)[t]));
        to.out[(static_cast<int64_t>(t - to.first) * k.heads + keyHead) * k.d + column] = x;
        most[side] = larger(most[side], magnitude(x));
      }
    }
  }
  raiseTo(most[0], positive.largest + keyHead);
  raiseTo(most[1], negative.largest + keyHead);
}

}  // namespace

void sumLabelledKeys(cudaStream_t stream, const DeviceRows& k, const DeviceLabels& labels, const Slice* slices,
                     int32_t count, int32_t mostLabels, double* running, const KeyRows (&to)[2]) {
  const dim3 grid(static_cast<uint32_t>((k.d + kThreads - 1) / kThreads), static_cast<uint32_t>(k.heads),
                  static_cast<uint32_t>(count));
  launch("summing keys by label", labelledKeysKernel, grid, dim3(kThreads), 0, stream, k, labels, slices, mostLabels,
         running, to[0], to[1]);
}

}  // namespace qkspace
