// Before a decomposition: scales a matrix by a power of two, which is exact, so that its largest magnitude is in
// [1/2, 1); lays out B and, for panels, its transpose; its energy; whether all entries are finite.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/kernels/matrix_task.cuh"

namespace qkspace {

constexpr int kPrepareThreads = 256;

struct PreparedMatrix {
  double total;      // sum of squares, scaled
  int32_t exponent;  // entries have been multiplied by 2^-exponent
  int32_t finite;
};

template <typename In>
__global__ void __launch_bounds__(kPrepareThreads)
    prepareKernel(SvdShape shape, const In* matrices, In* out, In* transposed, PreparedMatrix* prepared,
                  double* totals) {
  const size_t i = blockIdx.x, count = static_cast<size_t>(shape.rows) * shape.cols;
  const In* from = matrices + i * count;
  double most = 0, bad = 0;
  for (size_t e = threadIdx.x; e < count; e += blockDim.x) {
    const double x = fabs(static_cast<double>(from[e]));
    if (!(x <= 1.7976931348623157e308)) {
      bad = 1;
    }
    most = x > most ? x : most;
  }
  bad = blockMost(bad);
  most = blockMost(most);
  int exponent = 0;
  if (most > 0 && bad == 0) {
    frexp(most, &exponent);
  }
  // In two factors: 2^-exponent alone may overflow.
  const double half = ldexp(1.0, -exponent / 2), rest = ldexp(1.0, -exponent - -exponent / 2);
  double total = 0;
  const int n = shape.n, m = shape.m, ldm = shape.ldm, ldn = shape.ldn;
  auto entry = [&](int j, int x) {
    const size_t at =
        shape.transposed ? static_cast<size_t>(x) * shape.cols + j : static_cast<size_t>(j) * shape.cols + x;
    return static_cast<double>(from[at]) * half * rest;
  };
  In* to = out + i * n * static_cast<size_t>(ldm);
  for (int e = threadIdx.x; e < n * ldm; e += blockDim.x) {
    const double x = e % ldm < m ? entry(e / ldm, e % ldm) : 0.0;
    to[e] = static_cast<In>(x);
    total += x * x;
  }
  In* toTransposed = transposed ? transposed + i * m * static_cast<size_t>(ldn) : nullptr;
  for (int e = threadIdx.x; transposed && e < m * ldn; e += blockDim.x) {
    toTransposed[e] = e % ldn < n ? static_cast<In>(entry(e % ldn, e / ldn)) : static_cast<In>(0);
  }
  total = blockSum(total);
  if (threadIdx.x == 0) {
    prepared[i] = PreparedMatrix{total, exponent, bad == 0};
    totals[i] = total;
  }
}

}  // namespace qkspace
