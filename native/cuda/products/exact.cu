// The sums of terms straight from the definition, in f64: the reference of every other kernel, and what is done for
// heads whose products leave the range of f32. One thread an entry of a block of sums; slow.
#include "cuda/products/exact.h"

#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 128;

__device__ double keyEntry(const DeviceTerms& side, const DeviceRows& k, int32_t term, int32_t keyHead,
                           int32_t column) {
  double sum = 0;
  for (int32_t j = side.keyStart[term]; j < side.keyStart[term] + side.keyCount[term]; j++) {
    const double weight = side.keyWeights ? static_cast<double>(side.keyWeights[j]) : 1.0;
    sum += weight * static_cast<double>(loadElement(k, rowOffset(k, side.keys[j], keyHead) + column));
  }
  return sum * static_cast<double>(side.keyScale[term]);
}

__global__ void termsExactly(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceTerms positive,
                             DeviceTerms negative, const Slice* slices, int32_t count, const int32_t* heads,
                             double* sums) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int32_t head = heads[blockIdx.y / 2], side = static_cast<int32_t>(blockIdx.y % 2), d = shape.d;
  if (entry >= blockSize(d)) {
    return;
  }
  const DeviceTerms terms = side == 0 ? positive : negative;
  const int32_t keyHead = head / (shape.heads / shape.kvHeads);
  for (int32_t s = 0; s < count; s++) {
    double sum = 0;
    for (int32_t t = slices[s].from; t < slices[s].to; t++) {
      const int64_t query = rowOffset(q, terms.query[t], head);
      if (entry < d) {
        sum += static_cast<double>(terms.queryScale[t]) * static_cast<double>(loadElement(q, query + entry));
      } else if (entry < 2 * d) {
        sum += keyEntry(terms, k, t, keyHead, static_cast<int32_t>(entry - d));
      } else {
        const int64_t at = entry - 2 * d;
        sum += static_cast<double>(loadElement(q, query + at / d)) *
               keyEntry(terms, k, t, keyHead, static_cast<int32_t>(at % d));
      }
    }
    sums[blockOffset(slices[s].contrast, head, shape.heads, side, d) + entry] += sum;
  }
}

__device__ double keyEntry(const DeviceLabels& labels, const DeviceRun& run, const DeviceRows& k, int32_t term,
                           int32_t side, int32_t keyHead, int32_t column) {
  const int32_t own = labels.selfKey[term];
  double sum = 0;
  for (int32_t j = 0; j < labels.keysBefore[term]; j++) {
    const int32_t label = labels.keyLabel[run.firstKey + j];
    if (label < 0 || j == own || (label == labels.label[term]) != (side == 0)) {
      continue;
    }
    sum += static_cast<double>(loadElement(k, rowOffset(k, labels.keyRow[run.firstKey + j], keyHead) + column));
  }
  return sum * static_cast<double>(labels.scale(side)[term]);
}

__global__ void labelsExactly(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceLabels labels,
                              const Slice* slices, int32_t count, const int32_t* heads, double* sums) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int32_t head = heads[blockIdx.y / 2], side = static_cast<int32_t>(blockIdx.y % 2), d = shape.d;
  if (entry >= blockSize(d)) {
    return;
  }
  const int32_t keyHead = head / (shape.heads / shape.kvHeads);
  for (int32_t s = 0; s < count; s++) {
    const DeviceRun run = labels.runs[slices[s].run];
    double sum = 0;
    for (int32_t t = run.firstTerm + slices[s].from; t < run.firstTerm + slices[s].to; t++) {
      const int64_t query = rowOffset(q, labels.query[t], head);
      if (entry < d) {
        sum += static_cast<double>(labels.queryScale(side)[t]) * static_cast<double>(loadElement(q, query + entry));
      } else if (entry < 2 * d) {
        sum += keyEntry(labels, run, k, t, side, keyHead, static_cast<int32_t>(entry - d));
      } else {
        const int64_t at = entry - 2 * d;
        sum += static_cast<double>(loadElement(q, query + at / d)) *
               keyEntry(labels, run, k, t, side, keyHead, static_cast<int32_t>(at % d));
      }
    }
    sums[blockOffset(slices[s].contrast, head, shape.heads, side, d) + entry] += sum;
  }
}

dim3 gridFor(const CovarianceShape& shape, int32_t heads) {
  return {static_cast<uint32_t>((blockSize(shape.d) + kThreads - 1) / kThreads), static_cast<uint32_t>(2 * heads)};
}

}  // namespace

void sumTermsExactly(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
                     const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, const HeadList& heads,
                     double* sums) {
  launch("summing terms in f64", termsExactly, gridFor(shape, heads.count), dim3(kThreads), 0, stream, shape, q, k,
         sides[0], sides[1], slices, count, heads.heads, sums);
}

void sumLabelsExactly(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
                      const DeviceLabels& labels, const Slice* slices, int32_t count, const HeadList& heads,
                      double* sums) {
  launch("summing labelled terms in f64", labelsExactly, gridFor(shape, heads.count), dim3(kThreads), 0, stream, shape,
         q, k, labels, slices, count, heads.heads, sums);
}

}  // namespace qkspace
