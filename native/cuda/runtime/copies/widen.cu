// 16-bit numbers to f32, where they arrive. Far faster than the bus that brings them.
#include "cuda/runtime/copies/narrow.h"
#include "cuda/runtime/float16.cuh"
#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;

__global__ void __launch_bounds__(kThreads) widenKernel(bool bf16, const uint16_t* from, int64_t count, float* out) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    out[i] = bf16 ? bf16ToFloat(from[i]) : f16ToFloat(from[i]);
  }
}

}  // namespace

void widen(cudaStream_t stream, Travel travel, const uint16_t* from, int64_t count, float* out) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  launch("widening rows", widenKernel, dim3(static_cast<uint32_t>(blocks < kMostBlocks ? blocks : kMostBlocks)),
         dim3(kThreads), 0, stream, travel == Travel::kBf16, from, count, out);
}

}  // namespace qkspace
