// Largest singular value by block Lanczos on D^T D with two vectors a step, a matrix D a thread block.
//
//   Z_k = D^T D Q_k, A_k = Q_k^T Z_k;  Q_{k+1} R_k = Z_k - Q_k A_k - Q_{k-1} R_{k-1}^T   (Q_k [d, 2])
//   T = Q^T D^T D Q has A_k on its diagonal and R_k below: half bandwidth 2;  largest eigenvalue of T -> s_1(D)^2
//
// Why Lanczos: on noise, whose largest singular values lie close together, ten power iterations are 2.6% short at
// d = 128; this is at 1e-6 after some 20 steps, because it uses all the vectors met so far. In f32 those must be kept
// orthogonal: classical Gram-Schmidt, twice, against all of them. Bases to be deflated are earlier vectors like any
// other, so that (I - u u^T) D (I - v v^T) is never formed.
//
// Why two vectors: from one start that is all but orthogonal to the first singular vector, Lanczos settles on the
// second value. Simulated on matrices of noise; a look, every 4 steps, is quiet where the square has grown by at most
// 2e-5 of itself since the one before. Values more than 1e-3 off, and mean steps:
//
//   d, matrices    one vector, one quiet look    one vector, two    two vectors, one    two vectors, two quiet looks
//   128, 50,000    75, 20.3 steps                14, 24.3 steps     1, 16.9 steps       0, 20.9 steps
//   64, 170,000    87, 17.4 steps                9, 21.4 steps      0, 14.6 steps       0, 18.6 steps
//
// So there are two vectors, and it ends after two quiet looks.
// Two vectors read D as often a step as one.
//
// Why D^T D: only the right basis has to be kept and orthogonalised, which halves both. An eigenvalue is good to
// rounding of the largest, which is the one that is asked for.
//
// Layout: D and the basis in shared memory, rows padded by zeros to a multiple of 32, where they fit (d = 128: 64 KiB,
// 33 KiB and 8 KiB of partial sums, so that two blocks are on a multiprocessor); what does not fit is read from
// global memory.
//
// Count (not measured): a step at d = 128 reads D twice (128 KiB: 1,024 clocks of shared memory), half a full basis
// four times (512 clocks) and waits at 17 barriers. The step with one vector and two bases read as much, and waited at
// 20 barriers.
#include "cuda/svd/largest/lanczos.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/status.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/largest/band.cuh"
#include "cuda/svd/largest/two_vectors.cuh"

namespace qkspace {
namespace {

constexpr int kLookEvery = 4, kQuietLooks = 2;
constexpr float kSettled = 2e-5f;  // growth of s_1^2 between two looks, of itself

struct SpectralTask {
  const float* matrices;
  int64_t n;
  int d, ld, steps;
  Deflation removed;
  uint64_t seed;
  float* out;
  bool matrixShared, basisShared;
  char* scratch;
  size_t scratchBytes;  // a block
};

// Floats in front of D and the basis: partial sums, coefficients, p.
__host__ __device__ inline size_t partialFloats(int ld) {
  const size_t pairs = 2 * static_cast<size_t>(ld);
  return pairs > 8 * kLargestThreads ? pairs : 8 * kLargestThreads;
}
__host__ __device__ inline size_t smallFloats(int ld, int vectors) {
  const size_t along = (2 * static_cast<size_t>(vectors) + 31) / 32 * 32;
  return partialFloats(ld) + along + 2 * static_cast<size_t>(ld);
}

// What of a matrix a block works on.
struct SpectralRoom {
  float* partial;
  float2 *along, *p;
  float *removed, *copy, *basis;  // removed: [rank, ld] the left vectors
};

// D, or its copy in shared memory, and the vectors to be deflated. Ends with a barrier. Returns 2^-e: squares of D
// scaled by it stay within the range of f32, whatever its entries are.
__device__ inline float readMatrix(const SpectralTask& t, const SpectralRoom& room, int64_t i) {
  const int d = t.d, ld = t.ld, rank = t.removed.rank;
  const float* matrix = t.matrices + i * d * d;
  double most = 0;
  for (int e = threadIdx.x; e < d * d; e += blockDim.x) {
    const double x = fabs(static_cast<double>(matrix[e]));
    most = x > most ? x : most;
  }
  most = blockMost(most);
  int exponent = 0;
  if (most > 0) {
    frexp(most, &exponent);
  }
  for (int e = threadIdx.x; t.matrixShared && e < d * ld; e += blockDim.x) {
    room.copy[e] = e % ld < d ? matrix[e / ld * d + e % ld] : 0.0f;
  }
  const size_t basis = rank ? static_cast<size_t>(i / t.removed.matricesEach) * d * rank : 0;
  for (int e = threadIdx.x; e < rank * ld; e += blockDim.x) {
    const int k = e / ld, x = e % ld;
    room.removed[e] = x < d ? t.removed.u[basis + static_cast<size_t>(x) * rank + k] : 0.0f;
    room.basis[e] = x < d ? t.removed.v[basis + static_cast<size_t>(x) * rank + k] : 0.0f;
  }
  for (int e = threadIdx.x; e < 2 * ld; e += blockDim.x) {
    const int k = e / ld, x = e % ld;
    room.basis[static_cast<size_t>(rank) * ld + e] =
        x < d ? static_cast<float>(lanczosStart(t.seed, static_cast<uint64_t>(k) * d + x)) : 0.0f;
    // What lies behind d stays zero.
    reinterpret_cast<float*>(room.p)[e] = 0;
  }
  __syncthreads();
  return static_cast<float>(ldexp(1.0, exponent < -120 ? 120 : -exponent));
}

// What of the two vectors behind `count` of the basis is orthogonal to those, orthonormal. `first`: the products with
// the last two of them. Returns R, as of `orthonormalise`.
__device__ inline Triangle nextVectors(const SpectralTask& t, const SpectralRoom& room, int count, float least,
                                       float2 first[2]) {
  float *x = room.basis + static_cast<size_t>(count) * t.ld, *y = x + t.ld;
  Triangle r{1, 0, 1};
  for (int pass = 0; pass < 2; pass++) {
    if (count > 0) {
      rowProducts(room.basis, t.ld, t.d, count, x, y, 1.0f, room.along);
      __syncthreads();
      if (pass == 0 && count > 1) {
        first[0] = room.along[count - 2];
        first[1] = room.along[count - 1];
      }
      addRows(room.basis, t.ld, t.d, count, room.along, 1.0f, -1.0f, room.partial, x, y);
    }
    // The second time they were of length 1: what has lost half of that lies in the span of the others.
    const Triangle now = orthonormalise(x, y, t.ld, pass == 0 ? least : 0.5f);
    r = Triangle{now.xx * r.xx, now.xx * r.xy + now.xy * r.yy, now.yy * r.yy};
  }
  return r;
}

// (p, p') = (I - u u^T) D (q, q'), side by side.
__device__ inline void multiply(const SpectralTask& t, const SpectralRoom& room, const float* rows, int ldRows,
                                const float* q, float factor) {
  const int rank = t.removed.rank;
  rowProducts(rows, ldRows, t.d, t.d, q, q + t.ld, factor, room.p);
  __syncthreads();
  for (int pass = 0; pass < 2 && rank > 0; pass++) {
    // Of each column u: a warp.
    const int lane = threadIdx.x % 32;
    for (int k = threadIdx.x / 32; k < rank; k += kLargestThreads / 32) {
      float first = 0, second = 0;
      for (int e = lane; e < t.d; e += 32) {
        const float u = room.removed[static_cast<size_t>(k) * t.ld + e];
        first += u * room.p[e].x;
        second += u * room.p[e].y;
      }
      first = warpSum(first);
      second = warpSum(second);
      if (lane == 0) {
        room.along[k] = float2{first, second};
      }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < t.d; e += blockDim.x) {
      float2 left = room.p[e];
      for (int k = 0; k < rank; k++) {
        const float u = room.removed[static_cast<size_t>(k) * t.ld + e];
        left.x -= room.along[k].x * u;
        left.y -= room.along[k].y * u;
      }
      room.p[e] = left;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kLargestThreads, 2) spectralKernel(SpectralTask t) {
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(Band, band);
  const int d = t.d, ld = t.ld, rank = t.removed.rank, vectors = rank + 2 * t.steps + 2;
  SpectralRoom room{};
  room.partial = reinterpret_cast<float*>(shared);
  room.along = reinterpret_cast<float2*>(room.partial + partialFloats(ld));
  room.p = room.along + (vectors + 15) / 16 * 16;
  float* arena = room.partial + smallFloats(ld, vectors);
  room.copy = arena;
  if (t.matrixShared) {
    arena += static_cast<size_t>(d) * ld;
  }
  room.removed = t.basisShared ? arena : reinterpret_cast<float*>(t.scratch + blockIdx.x * t.scratchBytes);
  room.basis = room.removed + static_cast<size_t>(rank) * ld;

  for (int64_t i = blockIdx.x; i < t.n; i += gridDim.x) {
    const float factor = readMatrix(t, room, i);
    const float* rows = t.matrixShared ? room.copy : t.matrices + i * d * d;
    const int ldRows = t.matrixShared ? ld : d;
    float2 along[2] = {{0, 0}, {0, 0}};
    Triangle r = nextVectors(t, room, rank, 1e-6f, along);
    float squared = 0, largest = 0;
    int quiet = 0;
    for (int k = 0; k < t.steps && (r.xx > 0 || r.yy > 0); k++) {
      float *q = room.basis + static_cast<size_t>(rank + 2 * k) * ld, *next = q + 2 * ld;
      multiply(t, room, rows, ldRows, q, factor);
      if (ldRows < ld) {
        for (int e = d + threadIdx.x; e < ld; e += blockDim.x) {
          next[e] = 0;
          next[ld + e] = 0;
        }
      }
      addRows(rows, ldRows, d, d, room.p, 0.0f, factor, room.partial, next, next + ld);
      r = nextVectors(t, room, rank + 2 * k + 2, 2e-6f * largest, along);
      const float mixed = 0.5f * (along[0].y + along[1].x);
      const float most = along[0].x + along[1].y + r.xx + r.yy;
      largest = most > largest ? most : largest;
      if (threadIdx.x == 0) {
        band.a[2 * k] = along[0].x;
        band.a[2 * k + 1] = along[1].y;
        band.b[2 * k] = mixed;
        band.b[2 * k + 1] = r.xy;
        band.c[2 * k] = r.xx;
        band.c[2 * k + 1] = r.yy;
      }
      __syncthreads();
      const int done = k + 1;
      if ((r.xx > 0 || r.yy > 0) && done < t.steps && done % kLookEvery != 0) {
        continue;
      }
      const float before = squared;
      squared = largestEigenvalue(band, 2 * done, squared);
      quiet = squared - before <= kSettled * squared ? quiet + 1 : 0;
      if (quiet == kQuietLooks) {
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

void largestSingularValues(Device& device, const float* matrices, int64_t n, int d, const Deflation& removed,
                           uint64_t seed, float* out) {
  if (n < 1) {
    return;
  }
  if (d < 1 || d > 4096 || removed.rank < 0) {
    fail(QKS_E_SHAPE, "matrices must be [n, d, d] with d from 1 to 4096");
  }
  if (removed.rank > d) {
    fail(QKS_E_SHAPE, "more deflated vectors than the head dimension");
  }
  if (removed.rank > 0 && removed.matricesEach < 1) {
    fail(QKS_E_SHAPE, "a basis to be deflated must be of at least one matrix");
  }
  SpectralTask t{};
  t.matrices = matrices;
  t.n = n;
  t.d = d;
  t.ld = paddedLength(d);
  t.removed = removed;
  t.steps = std::min(kMostLanczosSteps, d - removed.rank);
  t.seed = seed;
  t.out = out;
  const size_t limit = device.properties.sharedMemPerBlockOptin - 4096, row = static_cast<size_t>(t.ld) * sizeof(float);
  const int vectors = removed.rank + 2 * t.steps + 2;
  const size_t matrix = static_cast<size_t>(d) * row, basis = static_cast<size_t>(removed.rank + vectors) * row;
  size_t shared = smallFloats(t.ld, vectors) * sizeof(float) + 128;
  t.matrixShared = shared + matrix <= limit;
  if (t.matrixShared) {
    shared += matrix;
  }
  t.basisShared = shared + basis <= limit;
  if (t.basisShared) {
    shared += basis;
  }
  const size_t resident = std::max<size_t>(1, std::min<size_t>(6, limit / (shared + 1024)));
  const int blocks = static_cast<int>(
      std::min<int64_t>(n, static_cast<int64_t>(resident) * std::max(1, device.properties.multiProcessorCount)));
  DeviceBuffer scratch(device.budget);
  if (!t.basisShared) {
    t.scratchBytes = basis;
    scratch.reserve(basis * static_cast<size_t>(blocks), "Lanczos vectors");
    t.scratch = scratch.get<char>();
  }
  launch("largest singular values", spectralKernel, dim3(static_cast<unsigned>(blocks)), dim3(kLargestThreads), shared,
         device.stream, t);
  if (!t.basisShared) {
    device.stream.finish("largest singular values");
  }
}

}  // namespace qkspace
