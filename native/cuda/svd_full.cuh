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
// while seven sweeps of nine run at f32's rate and in half the memory.
//
// Count at 128 x 128: step 1 reads and writes 128 KiB of shared memory a round, 127 rounds a sweep, 6 to 8 sweeps:
// 0.26 M clocks each. Steps 2 and 3: four products of 2.1 M f64 multiply-adds. Step 4: Y in shared memory (128 KiB),
// V through the caches. About 3 M clocks a matrix; bound by shared memory.
#pragma once

#include "cuda/block.cuh"
#include "cuda/launch.cuh"

namespace qkspace {

constexpr int kFullThreads = 512;
constexpr int kDirect = 16;  // rows up to which f64 alone is as fast

struct SvdShape {
  int rows, cols;
  int n, m;          // vectors and their length: the smaller side and the larger one
  int ldn, ldm;      // padded
  bool transposed;   // B = A^T
};

// Where the arrays of a block lie. Arrays that are not in shared memory lie in scratch, or in the output.
struct FullPlan {
  bool single;                // steps 1 to 3
  bool singleY, singleV;      // in shared memory
  bool doubleY, doubleV;
  size_t shared, scratch;     // bytes a block
  int threads;
};

inline FullPlan planFull(const SvdShape& shape, size_t sharedLimit) {
  const size_t n = static_cast<size_t>(shape.n), y = n * static_cast<size_t>(shape.ldm), v = n * static_cast<size_t>(shape.ldn);
  const size_t lengths = (n * sizeof(double) + 127) / 128 * 128, most = sharedLimit - lengths;
  FullPlan plan{};
  plan.single = shape.n > kDirect;
  size_t single = 0, wide = 0;
  if (plan.single) {
    plan.singleY = y * sizeof(float) <= most;
    plan.singleV = plan.singleY && (y + v) * sizeof(float) <= most;
    single = (plan.singleY ? y : 0) * sizeof(float) + (plan.singleV ? v : 0) * sizeof(float);
    plan.scratch = 2 * v * sizeof(double) + (plan.singleY ? 0 : y * sizeof(float)) + (plan.singleV ? 0 : v * sizeof(float));
  }
  plan.doubleY = y * sizeof(double) <= most;
  plan.doubleV = plan.doubleY && (y + v) * sizeof(double) <= most;
  wide = (plan.doubleY ? y : 0) * sizeof(double) + (plan.doubleV ? v : 0) * sizeof(double);
  plan.shared = lengths + (single > wide ? single : wide) + 128;
  const int lanes = (shape.n + 1) / 2 * kPairLanes;
  plan.threads = lanes >= kFullThreads ? kFullThreads : lanes <= 64 ? 64 : (lanes + 31) / 32 * 32;
  return plan;
}

template <typename M>
struct FullTask {
  SvdShape shape;
  FullPlan plan;
  const M* matrices;      // [.., n, ldm]
  const double* totals;   // [..] sums of squares
  const int32_t* list;    // [count] which ones
  int count;
  double *y, *v;          // [.., n, ldm], [.., n, ldn]
  double* squares;        // [.., n] of singular values, in the order of the vectors
  uint8_t* settled;       // [..]
  char* scratch;          // [blocks, plan.scratch]
};

// Squared length, of the sum of squares, up to which a vector is rounding and nothing else.
__host__ __device__ inline double leastSquare(int n, double total) {
  const double part = 2.220446049250313e-16 * n;
  return part * part * total;
}

template <typename M>
__device__ inline void preciseBasis(const FullTask<M>& t, const M* matrix, double total, char* arena, float* lengths,
                                    char* scratch, double* v) {
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  double *defect = reinterpret_cast<double*>(scratch), *factor = defect + sizeV;
  float* outside = reinterpret_cast<float*>(factor + sizeV);
  float* y32 = reinterpret_cast<float*>(arena);
  float* v32 = y32 + sizeY;
  if (!t.plan.singleY) {
    y32 = outside;
    outside += sizeY;
  }
  if (!t.plan.singleV) v32 = outside;
  for (size_t e = threadIdx.x; e < sizeY; e += blockDim.x) y32[e] = static_cast<float>(matrix[e]);
  for (size_t e = threadIdx.x; e < sizeV; e += blockDim.x) v32[e] = static_cast<int>(e / ldn) == static_cast<int>(e % ldn) ? 1.0f : 0.0f;
  __syncthreads();
  // Rows of less than 1e-7 of the matrix are rounding at this precision.
  jacobi(y32, ldm, v32, ldn, n, lengths, static_cast<float>(1e-14 * total), JacobiLimits<float>{1e-13f, 1e-6f, 12});
  transposedProduct<8>(v32, ldn, n, v32, ldn, n, ldn, [&](int j, int x, double sum) {
    defect[static_cast<size_t>(j) * ldn + x] = (j == x ? 1.0 : 0.0) - sum;
  });
  __syncthreads();
  product<8>(defect, ldn, n, defect, ldn, n, ldn, [&](int j, int x, double sum) {
    const size_t at = static_cast<size_t>(j) * ldn + x;
    factor[at] = (j == x ? 1.0 : 0.0) + 0.5 * defect[at] + 0.375 * sum;
  });
  __syncthreads();
  product<8>(v32, ldn, n, factor, ldn, n, ldn,
             [&](int j, int x, double sum) { v[static_cast<size_t>(j) * ldn + x] = sum; });
  __syncthreads();
}

template <typename M>
__global__ void __launch_bounds__(kFullThreads, 1) fullKernel(FullTask<M> t) {
  QKS_DYNAMIC_SHARED(shared);
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  double* lengths = reinterpret_cast<double*>(shared);
  char* arena = shared + (static_cast<size_t>(n) * sizeof(double) + 127) / 128 * 128;
  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    const M* matrix = t.matrices + i * sizeY;
    const double total = t.totals[i];
    double *outY = t.y + i * sizeY, *outV = t.v + i * sizeV;
    double* y = t.plan.doubleY ? reinterpret_cast<double*>(arena) : outY;
    double* v = t.plan.doubleV ? reinterpret_cast<double*>(arena) + sizeY : outV;
    if (t.plan.single) {
      preciseBasis(t, matrix, total, arena, reinterpret_cast<float*>(lengths),
                   t.scratch + blockIdx.x * t.plan.scratch, outV);
      product<8>(outV, ldn, n, matrix, ldm, n, ldm,
                 [&](int j, int x, double sum) { y[static_cast<size_t>(j) * ldm + x] = sum; });
      for (size_t e = threadIdx.x; t.plan.doubleV && e < sizeV; e += blockDim.x) v[e] = outV[e];
    } else {
      for (size_t e = threadIdx.x; e < sizeY; e += blockDim.x) y[e] = static_cast<double>(matrix[e]);
      for (size_t e = threadIdx.x; e < sizeV; e += blockDim.x) v[e] = e / ldn == e % ldn ? 1.0 : 0.0;
    }
    __syncthreads();
    const bool settled = jacobi(y, ldm, v, ldn, n, lengths, leastSquare(n, total), JacobiLimits<double>{1e-28, 1e-24, 40});
    for (int j = threadIdx.x; j < n; j += blockDim.x) t.squares[i * n + j] = lengths[j];
    for (size_t e = threadIdx.x; t.plan.doubleY && e < sizeY; e += blockDim.x) outY[e] = y[e];
    for (size_t e = threadIdx.x; t.plan.doubleV && e < sizeV; e += blockDim.x) outV[e] = v[e];
    if (threadIdx.x == 0) t.settled[i] = settled;
    __syncthreads();
  }
}

}  // namespace qkspace
