// Full decomposition of each matrix by one thread block.
//
// B [n, ld] is the matrix, or its transpose when it has more rows than columns, scaled; its n <= m rows are the
// vectors. Reference (at most kDirect rows):
//
//   V = I, Y = B; one-sided Jacobi in f64 on Y, V along:  B = V^T diag(s) U, s_j = |y_j|, u_j = y_j / s_j
//
// Fast:
//   1. the same in f32 in shared memory, until cosines are about 1e-6; only V is kept
//   2. V <- V (I + E / 2 + 3 E^2 / 8), E = I - V^T V, in f64: orthonormal to rounding
//   3. Y = V B in f64 from B itself, whose rows are orthogonal to 1e-6 already
//   4. one-sided Jacobi in f64 on Y, V along: one sweep that rotates, one or two that look
//
// so that results are f64's on every spectrum (graded, clustered and deficient ones take more sweeps in step 4),
// while ten sweeps of thirteen run at f32's rate and in half the memory. A kernel for step 1, one for 2 and 3, one
// for 4: each with the registers and the occupancy that suit it. Matrices of up to 128 x 128 go from step 1 to
// polish.cuh, which leaves step 4 only what f32 could not tell apart.
//
// Counts at 128 x 128 on an H100, clocks of a multiprocessor for a matrix of noise: sweeps and steps as counted on the
// emulator, clocks as estimated from loads and arithmetic. Nothing but the sum before was measured, 6.8 M clocks (106
// ms for 4,096 matrices), so that the estimates are about a third too low.
//
//                                                   before    now
//   step 1, ten sweeps: issue of instructions       1.8 M     1.2 M   approximate inverses: a third fewer instructions
//           waiting between rounds, about           0.4 M     0.4 M   shared memory (1.3 M) is busy at the same time
//   steps 2 and 3, four products by f64 cores       0.4 M     -       bound by loads
//   step 4, two sweeps that rotate, one that looks  1.5 M     -       V through the caches: 256 KiB a round
//   polish.cuh, 13 to 16 products                   -         0.4 M   0.2 M on tensor cores, the rest waiting for L2
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/products.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/jacobi/sweeps.cuh"
#include "cuda/svd/kernels/matrix_task.cuh"

namespace qkspace {

constexpr int kJacobiThreads = 512;
constexpr int kProductThreads = 256;
constexpr JacobiLimits<double> kWideLimits{1e-28, 1e-24, 40};
constexpr int kDirect = 16;  // rows up to which f64 alone is as fast

// Which arrays of a Jacobi kernel lie in shared memory; the others lie in their global ones.
struct JacobiPlan {
  bool sharedY, sharedV;
  size_t shared;
  int threads;
};

inline size_t lengthsBytes(int n) { return (static_cast<size_t>(n) * sizeof(double) + 127) / 128 * 128; }

inline JacobiPlan planJacobi(const SvdShape& shape, size_t element, size_t limit) {
  const size_t n = static_cast<size_t>(shape.n), y = n * static_cast<size_t>(shape.ldm) * element;
  const size_t v = n * static_cast<size_t>(shape.ldn) * element, lengths = lengthsBytes(shape.n) + 128;
  JacobiPlan plan{};
  plan.sharedY = lengths + y <= limit;
  plan.sharedV = lengths + y + v <= limit;
  plan.shared = lengths + (plan.sharedY ? y : 0) + (plan.sharedV ? v : 0);
  const int lanes = ((shape.n + 1) / 2 * kPairLanes + 31) / 32 * 32;
  plan.threads = lanes > kJacobiThreads ? kJacobiThreads : lanes < 64 ? 64 : lanes;
  return plan;
}

template <typename M>
struct FullTask : MatrixTask<M> {  // f32 vectors lie in y and v until f64's take their place
  JacobiPlan single, wide;
  uint8_t* settled;  // [..]
  double* scratch;   // [blocks, 2, n, ldn]
  bool direct;       // step 4 alone, from V = I
  bool polished;     // step 4 for those alone that `settled` says are not
};

template <typename T>
__device__ inline void identity(T* v, int n, int ld) {
  for (int e = threadIdx.x; e < n * ld; e += blockDim.x) {
    v[e] = e / ld == e % ld ? T(1) : T(0);
  }
}

template <typename From, typename To>
__device__ inline void copyBlock(const From* from, To* to, size_t count) {
  for (size_t e = threadIdx.x; e < count; e += blockDim.x) {
    to[e] = static_cast<To>(from[e]);
  }
}

// Step 1. kLong: the padded length of a row, 0 = any.
template <typename M, int kLong>
__global__ void __launch_bounds__(kJacobiThreads, 1) singleKernel(FullTask<M> t) {
  QKS_DYNAMIC_SHARED(shared);
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = kLong ? kLong : t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  float* arena = reinterpret_cast<float*>(shared + (static_cast<size_t>(n) * sizeof(double) + 127) / 128 * 128);
  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    float* outV = reinterpret_cast<float*>(t.v + i * sizeV);
    float* y = t.single.sharedY ? arena : reinterpret_cast<float*>(t.y + i * sizeY);
    float* v = t.single.sharedV ? arena + sizeY : outV;
    copyBlock(t.matrices + i * sizeY, y, sizeY);
    identity(v, n, ldn);
    __syncthreads();
    // Rows of less than 1e-7 of the matrix are rounding at this precision.
    jacobiSweeps<float, kLong>(y, ldm, v, ldn, n, reinterpret_cast<float*>(shared),
                               static_cast<float>(1e-14 * t.totals[i]), JacobiLimits<float>{1e-13f, 1e-6f, 12});
    if (t.single.sharedV) {
      copyBlock(v, outV, sizeV);
    }
    __syncthreads();
  }
}

// Steps 2 and 3.
template <typename M>
__global__ void __launch_bounds__(kProductThreads, 2) refineKernel(FullTask<M> t) {
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  double *defect = t.scratch + blockIdx.x * 2 * sizeV, *factor = defect + sizeV;
  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    double *y = t.y + i * sizeY, *v = t.v + i * sizeV;
    // The f32 basis makes room for the precise one; n <= m, so that it fits where Y will be.
    float* basis = reinterpret_cast<float*>(y);
    copyBlock(reinterpret_cast<const float*>(v), basis, sizeV);
    __syncthreads();
    transposedProduct<8>(basis, ldn, n, basis, ldn, n, ldn, [&](int j, int x, double sum) {
      defect[static_cast<size_t>(j) * ldn + x] = (j == x ? 1.0 : 0.0) - sum;
    });
    __syncthreads();
    product<8>(defect, ldn, n, defect, ldn, n, ldn, [&](int j, int x, double sum) {
      const size_t to = static_cast<size_t>(j) * ldn + x;
      factor[to] = (j == x ? 1.0 : 0.0) + 0.5 * defect[to] + 0.375 * sum;
    });
    __syncthreads();
    product<8>(basis, ldn, n, factor, ldn, n, ldn,
               [&](int j, int x, double sum) { v[static_cast<size_t>(j) * ldn + x] = sum; });
    __syncthreads();
    product<8>(v, ldn, n, t.matrices + i * sizeY, ldm, n, ldm,
               [&](int j, int x, double sum) { y[static_cast<size_t>(j) * ldm + x] = sum; });
    __syncthreads();
  }
}

// Step 4, and all of the reference.
template <typename M, int kLong>
__global__ void __launch_bounds__(kJacobiThreads, 1) wideKernel(FullTask<M> t) {
  QKS_DYNAMIC_SHARED(shared);
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = kLong ? kLong : t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  double* lengths = reinterpret_cast<double*>(shared);
  double* arena = reinterpret_cast<double*>(shared + (static_cast<size_t>(n) * sizeof(double) + 127) / 128 * 128);
  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    if (t.polished && t.settled[i]) {
      continue;
    }
    double *outY = t.y + i * sizeY, *outV = t.v + i * sizeV;
    double *y = t.wide.sharedY ? arena : outY, *v = t.wide.sharedV ? arena + sizeY : outV;
    if (t.direct) {
      copyBlock(t.matrices + i * sizeY, y, sizeY);
      identity(v, n, ldn);
    } else {
      if (t.wide.sharedY) {
        copyBlock(outY, y, sizeY);
      }
      if (t.wide.sharedV) {
        copyBlock(outV, v, sizeV);
      }
    }
    __syncthreads();
    const bool settled =
        jacobiSweeps<double, kLong>(y, ldm, v, ldn, n, lengths, leastSquare(n, t.totals[i]), kWideLimits);
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
      t.squares[i * n + j] = lengths[j];
    }
    if (t.wide.sharedY) {
      copyBlock(y, outY, sizeY);
    }
    if (t.wide.sharedV) {
      copyBlock(v, outV, sizeV);
    }
    if (threadIdx.x == 0) {
      t.settled[i] = settled;
    }
    __syncthreads();
  }
}

}  // namespace qkspace
