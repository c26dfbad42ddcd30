#include "cuda/products/pairs.h"

#include "cuda/products/hopper/pairs.h"
#include "cuda/products/mma/pairs.h"

namespace qkspace {

PairKernel pairKernelFor(const Device& device, int32_t queryType, int32_t keyType, int32_t d, bool direct) {
  const bool only16 = direct && queryType != QKS_F32 && queryType == keyType && d % 8 == 0;
  if (device.hopper) {
    return only16 ? PairKernel::kWgmma16 : PairKernel::kWgmma32;
  }
  return only16 ? PairKernel::kMma16 : PairKernel::kMma32;
}

bool readsKeysOf(PairKernel kernel, int32_t keyType) { return kernel != PairKernel::kWgmma32 || keyType == QKS_F32; }

int32_t mostSliceRows(PairKernel kernel) { return kernel == PairKernel::kMma32 ? 768 : 2048; }

void sumPairs(cudaStream_t stream, PairKernel kernel, const CovarianceShape& shape, const DevicePairs& pairs,
              bool oneQuery, const Slice* slices, int32_t count, float* partial) {
  switch (kernel) {
    case PairKernel::kWgmma16:
      return sumPairs16OnHopper(stream, shape, pairs, oneQuery, slices, count, partial);
    case PairKernel::kWgmma32:
      return sumPairs32OnHopper(stream, shape, pairs, oneQuery, slices, count, partial);
    case PairKernel::kMma16:
      return sumPairs16(stream, shape, pairs, slices, count, partial);
    case PairKernel::kMma32:
      return sumPairs32(stream, shape, pairs, slices, count, partial);
  }
}

}  // namespace qkspace
