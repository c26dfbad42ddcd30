// Every number is read once: bound by bytes. A warp takes rows of one head, so that heads need no sorting.
#include "cuda/rows/range/magnitudes.h"

#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;

__global__ void __launch_bounds__(kThreads) magnitudesKernel(DeviceRows rows, int64_t count, uint32_t* largest) {
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  uint32_t most = 0;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32; row < count; row += warps) {
    const int64_t at = rowOffset(rows, row, head);
    for (int i = lane; i < rows.d; i += 32) {
      most = larger(most, magnitude(loadElement(rows, at + i)));
    }
  }
  raiseTo(most, largest + head);
}

}  // namespace

void findMagnitudes(cudaStream_t stream, const DeviceRows& rows, int64_t count, uint32_t* largest) {
  if (count == 0) {
    return;
  }
  const int64_t blocks = (count + kThreads / 32 - 1) / (kThreads / 32);
  const dim3 grid(static_cast<uint32_t>(blocks < kMostBlocks ? blocks : kMostBlocks),
                  static_cast<uint32_t>(rows.heads));
  launch("looking for the largest magnitudes", magnitudesKernel, grid, dim3(kThreads), 0, stream, rows, count, largest);
}

}  // namespace qkspace
