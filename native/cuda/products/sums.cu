// What happens to sums once they are made. All of it is bound by bytes: every number is read once and written once.
#include "cuda/products/sums.h"

#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreadsOfSums = 256;

__global__ void addPartialKernel(CovarianceShape shape, const float* partial, const int32_t* contrasts,
                                 const int32_t* first, double* sums) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, block = blockSize(shape.d);
  if (entry >= block) {
    return;
  }
  const int32_t head = static_cast<int32_t>(blockIdx.y / 2), side = static_cast<int32_t>(blockIdx.y % 2);
  const int64_t to = blockOffset(contrasts[blockIdx.z], head, shape.heads, side, shape.d) + entry;
  // On top of what is there, slice by slice: the same bits however slices are shared out among launches.
  double sum = sums[to];
  for (int32_t slice = first[blockIdx.z]; slice < first[blockIdx.z + 1]; slice++) {
    sum += static_cast<double>(partial[blockOffset(slice, head, shape.heads, side, shape.d) + entry]);
  }
  sums[to] = sum;
}

__global__ void findNonFiniteKernel(const double* sums, int64_t n, uint32_t* flags) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  bool bad = false;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    bad |= !(sums[i] - sums[i] == 0);  // infinity and NaN less themselves are NaN
  }
  if (bad) {
    atomicOr(flags, uint32_t{kNotFinite});
  }
}

__global__ void addSumsKernel(const double* from, int64_t n, double* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    to[i] += from[i];
  }
}

uint32_t blocksFor(int64_t n) {
  const int64_t blocks = (n + kThreadsOfSums - 1) / kThreadsOfSums;
  return static_cast<uint32_t>(blocks < 1 ? 1 : blocks > 4096 ? 4096 : blocks);
}

}  // namespace

void addPartial(cudaStream_t stream, const CovarianceShape& shape, const float* partial, const int32_t* contrasts,
                const int32_t* first, int32_t count, double* sums) {
  const dim3 grid(static_cast<uint32_t>((blockSize(shape.d) + kThreadsOfSums - 1) / kThreadsOfSums),
                  static_cast<uint32_t>(2 * shape.heads), static_cast<uint32_t>(count));
  launch("adding partial sums", addPartialKernel, grid, dim3(kThreadsOfSums), 0, stream, shape, partial, contrasts,
         first, sums);
}

void findNonFinite(cudaStream_t stream, const double* sums, int64_t n, uint32_t* flags) {
  launch("checking sums", findNonFiniteKernel, dim3(blocksFor(n)), dim3(kThreadsOfSums), 0, stream, sums, n, flags);
}

void addSums(cudaStream_t stream, const double* from, int64_t n, double* to) {
  launch("adding sums", addSumsKernel, dim3(blocksFor(n)), dim3(kThreadsOfSums), 0, stream, from, n, to);
}

}  // namespace qkspace
