// Largest singular value by Golub-Kahan-Lanczos bidiagonalisation, a matrix D a thread block.
//
//   p_k = D q_k - beta_{k-1} p_{k-1}, alpha_k = |p_k|;  q_{k+1} = D^T p_k - alpha_k q_k, beta_k = |q_{k+1}|
//   D^T P_k = Q_{k+1} B^T, B [k, k + 1] with alpha on the diagonal and beta above;  s_1(B) -> s_1(D) from below
//
// Why this one: on noise, whose largest singular values lie close together, ten power iterations are 2.6% short
// at d = 128; twelve to twenty Lanczos steps reach 1e-5, because they use all the vectors met so far. In f32 those
// must be kept orthogonal: classical Gram-Schmidt, twice, against all of them. Bases to be deflated are earlier
// vectors like any other, so that (I - u u^T) D (I - v v^T) is never formed.
//
// Layout: D and both bases in shared memory, rows padded by zeros to a multiple of 32, where they fit (d = 128, 40
// steps: 64 + 41 KiB); what does not fit is read from global memory.
//
// Count: a step reads D twice (128 KiB at d = 128: 1,024 clocks of shared memory) and multiplies 2 d^2 times; with
// some 20 barriers, about 4,000 clocks. Bound by latency, which a second block on the multiprocessor hides.
#include "cuda/svd/largest/lanczos.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/status.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/random.cuh"
#include "cuda/svd/block/sums.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int kMostSteps = 40;
constexpr int kFirstLook = 8, kLookEvery = 4;
constexpr float kSettled = 2e-5f;  // growth of s_1^2 between two looks, of itself

struct SpectralTask {
  const float* matrices;
  int64_t n;
  int d, ld, r, steps;
  const float *u, *v;
  uint64_t seed;
  float* out;
  bool matrixShared, basesShared;
  char* scratch;
  size_t scratchBytes;  // a block
};

__host__ __device__ inline size_t smallFloats(int ld, int vectors) {
  const size_t partial = ld > kThreads ? ld : kThreads;
  return (partial + vectors + 2 * kMostSteps + 31) / 32 * 32;
}

// out[j] = factor * rows_j . x for j < count; rows of length ld with zeros behind d, or of length d.
__device__ inline void rowProducts(const float* rows, int ld, int d, int count, const float* x, float factor,
                                   float* out) {
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  for (int from = 0; from < count; from += groups) {
    const int j = from + group;
    float sum = 0;
    if (j < count) {
      const float* row = rows + static_cast<size_t>(j) * ld;
      if (ld % 32 == 0) {
        const Packet<float>*a = reinterpret_cast<const Packet<float>*>(row),
              *b = reinterpret_cast<const Packet<float>*>(x);
        for (int e = lane; e < ld / 4; e += kPairLanes) {
          sum = dotOf(load(a + e), load(b + e), sum);
        }
      } else {
        for (int e = lane; e < d; e += kPairLanes) {
          sum += row[e] * x[e];
        }
      }
    }
    sum = pairSum(sum);
    if (j < count && lane == 0) {
      out[j] = factor * sum;
    }
  }
}

// out = factor * sum over j of p_j rows_j; `partial` is room for kThreads numbers or ld.
__device__ inline void columnProducts(const float* rows, int ld, int d, const float* p, float factor, float* partial,
                                      float* out) {
  const int width = d < static_cast<int>(blockDim.x) ? d : static_cast<int>(blockDim.x), parts = blockDim.x / width;
  const int part = threadIdx.x / width, first = threadIdx.x % width;
  for (int x = first; x < d && part < parts; x += width) {
    float sum[4] = {0, 0, 0, 0};
    int j = part;
    for (; j + 3 * parts < d; j += 4 * parts) {
      QKS_UNROLL
      for (int e = 0; e < 4; e++) {
        sum[e] += p[j + e * parts] * rows[static_cast<size_t>(j + e * parts) * ld + x];
      }
    }
    for (; j < d; j += parts) {
      sum[0] += p[j] * rows[static_cast<size_t>(j) * ld + x];
    }
    const float all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    if (parts == 1) {
      out[x] = factor * all;
    } else {
      partial[part * width + x] = all;
    }
  }
  if (parts == 1) {
    return;
  }
  __syncthreads();
  for (int x = threadIdx.x; x < d; x += blockDim.x) {
    float sum = 0;
    for (int k = 0; k < parts; k++) {
      sum += partial[k * width + x];
    }
    out[x] = factor * sum;
  }
}

// x becomes orthogonal to `count` rows of the basis and of length 1; its length before is returned, 0 when no more
// than rounding was left of it.
__device__ inline float orthonormalise(const float* basis, int ld, int d, int count, float* x, float* along,
                                       float least) {
  for (int pass = 0; pass < 2; pass++) {
    __syncthreads();
    rowProducts(basis, ld, d, count, x, 1.0f, along);
    __syncthreads();
    for (int e = threadIdx.x; e < d; e += blockDim.x) {
      float left = x[e];
      for (int k = 0; k < count; k++) {
        left -= along[k] * basis[static_cast<size_t>(k) * ld + e];
      }
      x[e] = left;
    }
  }
  double square = 0;
  for (int e = threadIdx.x; e < d; e += blockDim.x) {
    square += static_cast<double>(x[e]) * static_cast<double>(x[e]);
  }
  const float length = static_cast<float>(sqrt(blockSum(square)));
  const bool some = length > least;
  for (int e = threadIdx.x; e < d; e += blockDim.x) {
    x[e] = some ? x[e] / length : 0.0f;
  }
  __syncthreads();
  return some ? length : 0.0f;
}

// Largest eigenvalue of B B^T, B [k, k + 1] of `alpha` and `beta`, by one warp: every lane tries a point of the
// interval (how many pivots of B B^T - x are positive?), four times, each 33 times narrower.
__device__ inline float largestEigenvalue(const float* alpha, const float* beta, int k, float known) {
  float low = known, high = 0;
  for (int i = 0; i < k; i++) {
    const float diagonal = alpha[i] * alpha[i] + beta[i] * beta[i];
    const float before = i > 0 ? beta[i - 1] * alpha[i] : 0.0f, after = i + 1 < k ? beta[i] * alpha[i + 1] : 0.0f;
    low = diagonal > low ? diagonal : low;
    high = diagonal + before + after > high ? diagonal + before + after : high;
  }
  for (int round = 0; round < 4 && high > low; round++) {
    const float step = (high - low) / 33, x = low + step * static_cast<float>(threadIdx.x % 32 + 1);
    bool above = false;
    float pivot = 1;
    for (int i = 0; i < k; i++) {
      const float coupling = i > 0 ? beta[i - 1] * alpha[i] : 0.0f;
      pivot = alpha[i] * alpha[i] + beta[i] * beta[i] - x - coupling * coupling / pivot;
      if (pivot == 0) {
        pivot = -1e-30f;
      }
      above |= pivot > 0;
    }
    const unsigned lanes = __ballot_sync(0xffffffffu, above);
    low += step * static_cast<float>(__popc(lanes));
    high = low + step;
  }
  return low + 0.5f * (high - low);
}

__global__ void __launch_bounds__(kThreads, 2) spectralKernel(SpectralTask t) {
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(float, estimate);
  const int d = t.d, ld = t.ld, r = t.r, vectors = r + t.steps + 1;
  float* partial = reinterpret_cast<float*>(shared);
  float *along = partial + (ld > kThreads ? ld : kThreads), *alpha = along + vectors, *beta = alpha + kMostSteps;
  float* arena = partial + smallFloats(ld, vectors);
  float* copy = arena;
  if (t.matrixShared) {
    arena += static_cast<size_t>(d) * ld;
  }
  float* left = t.basesShared ? arena : reinterpret_cast<float*>(t.scratch + blockIdx.x * t.scratchBytes);
  float* right = left + static_cast<size_t>(vectors) * ld;

  for (int64_t i = blockIdx.x; i < t.n; i += gridDim.x) {
    const float* matrix = t.matrices + i * d * d;
    double most = 0;
    for (int e = threadIdx.x; e < d * d; e += blockDim.x) {
      const double x = fabs(static_cast<double>(matrix[e]));
      most = x > most ? x : most;
    }
    most = blockMost(most);
    // Squares stay within the range of f32 whatever the entries are.
    int exponent = 0;
    if (most > 0) {
      frexp(most, &exponent);
    }
    const float factor = static_cast<float>(ldexp(1.0, exponent < -120 ? 120 : -exponent));
    for (int e = threadIdx.x; t.matrixShared && e < d * ld; e += blockDim.x) {
      copy[e] = e % ld < d ? matrix[e / ld * d + e % ld] : 0.0f;
    }
    const float* rows = t.matrixShared ? copy : matrix;
    const int ldRows = t.matrixShared ? ld : d;
    for (int e = threadIdx.x; e < vectors * ld; e += blockDim.x) {
      const int k = e / ld, x = e % ld;
      const bool given = k < r && x < d;
      left[e] = given ? t.u[static_cast<size_t>(x) * r + k] : 0.0f;
      right[e] = given             ? t.v[static_cast<size_t>(x) * r + k]
                 : k == r && x < d ? static_cast<float>(randomAt(t.seed, static_cast<uint64_t>(x)))
                                   : 0.0f;
    }
    float now = orthonormalise(right, ld, d, r, right + static_cast<size_t>(r) * ld, along, 1e-6f) > 0 ? 1.0f : 0.0f;
    float squared = 0, largest = 0;
    for (int k = 0; k < t.steps && now > 0; k++) {
      float *p = left + static_cast<size_t>(r + k) * ld, *q = right + static_cast<size_t>(r + k) * ld, *next = q + ld;
      rowProducts(rows, ldRows, d, d, q, factor, p);
      const float a = orthonormalise(left, ld, d, r + k, p, along, 1e-6f * largest);
      columnProducts(rows, ldRows, d, p, factor, partial, next);
      const float b = orthonormalise(right, ld, d, r + k + 1, next, along, 1e-6f * largest);
      largest = a > largest ? a : largest;
      largest = b > largest ? b : largest;
      if (threadIdx.x == 0) {
        alpha[k] = a;
        beta[k] = b;
      }
      __syncthreads();
      now = b;  // 0: the vectors met span all that D reaches
      const int done = k + 1;
      if (now > 0 && done < t.steps && (done < kFirstLook || done % kLookEvery != 0)) {
        continue;
      }
      if (threadIdx.x < 32) {
        const float found = largestEigenvalue(alpha, beta, done, squared);
        if (threadIdx.x == 0) {
          estimate = found;
        }
      }
      __syncthreads();
      const float before = squared;
      squared = estimate;
      __syncthreads();
      if (squared - before <= kSettled * squared) {
        break;
      }
    }
    if (threadIdx.x == 0) {
      t.out[i] = sqrtf(squared) / factor;
    }
    __syncthreads();
  }
}

}  // namespace

void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, uint64_t seed, float* out) {
  largestSingularValues(device, matrices, n, d, nullptr, nullptr, 0, seed, out);
}

void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, const float* u, const float* v,
                           int r, uint64_t seed, float* out) {
  if (n < 1) {
    return;
  }
  if (d < 1 || d > 4096 || r < 0) {
    fail(QKS_E_SHAPE, "matrices must be [n, d, d] with d from 1 to 4096");
  }
  SpectralTask t{};
  t.matrices = matrices;
  t.n = n;
  t.d = d;
  t.ld = paddedLength(d);
  t.u = u;
  t.v = v;
  t.r = std::min(r, d);
  t.steps = std::max(0, std::min(kMostSteps, d - t.r));
  t.seed = seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull;
  t.out = out;
  const size_t limit = device.properties.sharedMemPerBlockOptin - 2048, row = static_cast<size_t>(t.ld) * sizeof(float);
  const int vectors = t.r + t.steps + 1;
  const size_t matrix = static_cast<size_t>(d) * row, bases = 2 * static_cast<size_t>(vectors) * row;
  size_t shared = smallFloats(t.ld, vectors) * sizeof(float) + 128;
  if (r > d) {
    fail(QKS_E_SHAPE, "more deflated vectors than the head dimension");
  }
  t.matrixShared = shared + matrix <= limit;
  if (t.matrixShared) {
    shared += matrix;
  }
  t.basesShared = shared + bases <= limit;
  if (t.basesShared) {
    shared += bases;
  }
  const size_t resident = std::max<size_t>(1, std::min<size_t>(6, limit / (shared + 1024)));
  const int blocks = static_cast<int>(
      std::min<int64_t>(n, static_cast<int64_t>(resident) * std::max(1, device.properties.multiProcessorCount)));
  DeviceBuffer scratch(device.budget);
  if (!t.basesShared) {
    t.scratchBytes = bases;
    scratch.reserve(bases * static_cast<size_t>(blocks), "Lanczos vectors");
    t.scratch = scratch.get<char>();
  }
  launch("largest singular values", spectralKernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared,
         device.stream, t);
  if (!t.basesShared) {
    device.stream.finish("largest singular values");
  }
}

}  // namespace qkspace
