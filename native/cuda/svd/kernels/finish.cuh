// After the ranks have been chosen: order, completion of null vectors, signs, and the vectors found, packed.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/random.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/kernels/matrix_task.cuh"

namespace qkspace {

constexpr int kFinishThreads = 256;

struct FinishTask {
  SvdShape shape;
  double* y;              // [.., n, ldm] rows s_j u_j
  const double* v;        // [.., n, ldn]
  const double* squares;  // [.., n]
  const int32_t* order;   // [.., n] the first `found` count
  const int32_t* found;   // [..]
  const int32_t* live;    // [..] how many of those have a singular value that is not rounding
  const int64_t* before;  // [..] triplets of the matrices before it
  void *outU, *outV;      // of the type asked for: [rows, found] and [cols, found] of each matrix, one after another
  uint64_t seed;
};

// x becomes orthogonal to the first c of y's rows, in their order, and of length 1.
__device__ inline void completeVector(const FinishTask& t, double* y, const int32_t* order, int c, double* along) {
  const int m = t.shape.m, ldm = t.shape.ldm, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  double* x = y + static_cast<size_t>(order[c]) * ldm;
  for (int e = threadIdx.x; e < ldm; e += blockDim.x) {
    x[e] = e < m ? randomAt(t.seed + static_cast<uint64_t>(c) * 0x632be59bd9b4e019ull, static_cast<uint64_t>(e)) : 0.0;
  }
  __syncthreads();
  // The last vectors are found in what little the others leave of a random one: three passes.
  for (int pass = 0; pass < 3; pass++) {
    for (int k = warp; k < c; k += static_cast<int>(blockDim.x) / 32) {
      const double* other = y + static_cast<size_t>(order[k]) * ldm;
      double sum = 0;
      for (int e = lane; e < m; e += 32) {
        sum += x[e] * other[e];
      }
      sum = warpSum(sum);
      if (lane == 0) {
        along[k] = sum;
      }
    }
    __syncthreads();
    double square = 0;
    for (int e = threadIdx.x; e < m; e += blockDim.x) {
      double left = x[e];
      for (int k = 0; k < c; k++) {
        left -= along[k] * y[static_cast<size_t>(order[k]) * ldm + e];
      }
      x[e] = left;
      square += left * left;
    }
    const double inverse = 1 / sqrt(blockSum(square));
    for (int e = threadIdx.x; e < m; e += blockDim.x) {
      x[e] *= inverse;
    }
    __syncthreads();
  }
}

// T: the type that was asked for.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads) finishKernel(FinishTask t) {
  QKS_DYNAMIC_SHARED(shared);
  const size_t i = blockIdx.x;
  const int n = t.shape.n, m = t.shape.m, ldm = t.shape.ldm, ldn = t.shape.ldn;
  const int found = t.found[i], live = t.live[i], rows = t.shape.rows, cols = t.shape.cols;
  double* along = reinterpret_cast<double*>(shared);
  double* sign = along + n;
  double* y = t.y + i * n * static_cast<size_t>(ldm);
  const double* v = t.v + i * n * static_cast<size_t>(ldn);
  const int32_t* order = t.order + i * n;
  for (int c = 0; c < live; c++) {
    const double s = sqrt(t.squares[i * n + order[c]]);
    for (int e = threadIdx.x; e < m; e += blockDim.x) {
      y[static_cast<size_t>(order[c]) * ldm + e] /= s;
    }
  }
  __syncthreads();
  for (int c = live; c < found; c++) {
    completeVector(t, y, order, c, along);
  }

  const double *u = t.shape.transposed ? y : v, *w = t.shape.transposed ? v : y;
  const int ldu = t.shape.transposed ? ldm : ldn, ldw = t.shape.transposed ? ldn : ldm;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int c = warp; c < found; c += static_cast<int>(blockDim.x) / 32) {
    // The entry of largest magnitude of u is positive, the first such entry on a tie.
    const double* column = u + static_cast<size_t>(order[c]) * ldu;
    double most = -1, value = 0;
    int where = 0;
    for (int e = lane; e < rows; e += 32) {
      if (fabs(column[e]) > most) {
        value = column[e];
        most = fabs(value);
        where = e;
      }
    }
    for (int step = 16; step > 0; step /= 2) {
      const double otherMost = __shfl_xor_sync(0xffffffffu, most, step),
                   otherValue = __shfl_xor_sync(0xffffffffu, value, step);
      const int otherWhere = __shfl_xor_sync(0xffffffffu, where, step);
      if (otherMost > most || (otherMost == most && otherWhere < where)) {
        most = otherMost;
        value = otherValue;
        where = otherWhere;
      }
    }
    if (lane == 0) {
      sign[c] = value < 0 ? -1.0 : 1.0;
    }
  }
  __syncthreads();
  T* out = static_cast<T*>(t.outU) + t.before[i] * rows;
  for (int e = threadIdx.x; e < rows * found; e += blockDim.x) {
    out[e] = static_cast<T>(sign[e % found] * u[static_cast<size_t>(order[e % found]) * ldu + e / found]);
  }
  out = static_cast<T*>(t.outV) + t.before[i] * cols;
  for (int e = threadIdx.x; e < cols * found; e += blockDim.x) {
    out[e] = static_cast<T>(sign[e % found] * w[static_cast<size_t>(order[e % found]) * ldw + e / found]);
  }
}

}  // namespace qkspace
