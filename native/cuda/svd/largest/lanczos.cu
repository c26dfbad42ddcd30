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
#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/random.cuh"
#include "cuda/svd/block/sums.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int kMostSteps = 32;
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

// The band of T: its diagonal, and what is one and two beside it.
struct Band {
  float a[2 * kMostSteps], b[2 * kMostSteps], c[2 * kMostSteps];
};

// Floats in front of D and the basis: partial sums, coefficients, p.
__host__ __device__ inline size_t partialFloats(int ld) {
  const size_t pairs = 2 * static_cast<size_t>(ld);
  return pairs > 8 * kThreads ? pairs : 8 * kThreads;
}
__host__ __device__ inline size_t smallFloats(int ld, int vectors) {
  const size_t along = (2 * static_cast<size_t>(vectors) + 31) / 32 * 32;
  return partialFloats(ld) + along + 2 * static_cast<size_t>(ld);
}

// out[j] = factor * rows_j . (x, y) for j < count; rows of length ld with zeros behind d, or of length d.
__device__ inline void rowProducts(const float* rows, int ld, int d, int count, const float* x, const float* y,
                                   float factor, float2* out) {
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  for (int from = 0; from < count; from += groups) {
    const int j = from + group;
    float first = 0, second = 0;
    if (j < count) {
      const float* row = rows + static_cast<size_t>(j) * ld;
      if (ld % 4 == 0) {
        typedef Packet<float> P;
        for (int e = lane; e < ld / 4; e += kPairLanes) {
          const P r = load(reinterpret_cast<const P*>(row) + e);
          first = dotOf(r, load(reinterpret_cast<const P*>(x) + e), first);
          second = dotOf(r, load(reinterpret_cast<const P*>(y) + e), second);
        }
      } else {
        for (int e = lane; e < d; e += kPairLanes) {
          first += row[e] * x[e];
          second += row[e] * y[e];
        }
      }
    }
    first = pairSum(first);
    second = pairSum(second);
    if (j < count && lane == 0) {
      out[j] = float2{factor * first, factor * second};
    }
  }
}

// (x, y) = kept * (x, y) + factor * sum over j < count of p_j rows_j. A thread takes kWide elements of a part of the
// rows. Ends with a barrier.
template <int kWide>
__device__ inline void addRowsBy(const float* rows, int ld, int length, int count, const float2* p, float kept,
                                 float factor, float* partial, float* x, float* y) {
  const int pieces = (length + kWide - 1) / kWide, threads = static_cast<int>(blockDim.x);
  const int parts = pieces < threads ? threads / pieces : 1;
  const int part = pieces < threads ? static_cast<int>(threadIdx.x) / pieces : 0;
  const int from = pieces < threads ? static_cast<int>(threadIdx.x) % pieces : static_cast<int>(threadIdx.x);
  for (int piece = from; piece < pieces && part < parts; piece += threads) {
    float first[kWide], second[kWide];
    QKS_UNROLL
    for (int e = 0; e < kWide; e++) {
      first[e] = 0;
      second[e] = 0;
    }
    for (int j = part; j < count; j += parts) {
      const float2 weight = p[j];
      const float* row = rows + static_cast<size_t>(j) * ld + piece * kWide;
      float r[kWide];
      if constexpr (kWide == 4) {
        const Packet<float> packet = load(reinterpret_cast<const Packet<float>*>(row));
        QKS_UNROLL
        for (int e = 0; e < kWide; e++) {
          r[e] = packet.x[e];
        }
      } else {
        r[0] = *row;
      }
      QKS_UNROLL
      for (int e = 0; e < kWide; e++) {
        first[e] += weight.x * r[e];
        second[e] += weight.y * r[e];
      }
    }
    float *toFirst = partial + static_cast<size_t>(2 * part) * pieces * kWide + piece * kWide,
          *toSecond = toFirst + static_cast<size_t>(pieces) * kWide;
    QKS_UNROLL
    for (int e = 0; e < kWide; e++) {
      toFirst[e] = first[e];
      toSecond[e] = second[e];
    }
  }
  __syncthreads();
  for (int e = threadIdx.x; e < 2 * length; e += threads) {
    const int which = e / length, at = e % length;
    float sum = 0;
    for (int k = 0; k < parts; k++) {
      sum += partial[static_cast<size_t>(2 * k + which) * pieces * kWide + at];
    }
    float* to = (which ? y : x) + at;
    *to = (kept == 0 ? 0.0f : *to) + factor * sum;
  }
  __syncthreads();
}

__device__ inline void addRows(const float* rows, int ld, int d, int count, const float2* p, float kept, float factor,
                               float* partial, float* x, float* y) {
  if (ld % 4 == 0) {
    addRowsBy<4>(rows, ld, ld, count, p, kept, factor, partial, x, y);
  } else {
    addRowsBy<1>(rows, ld, d, count, p, kept, factor, partial, x, y);
  }
}

// (x, y) = (q, q') R, R upper triangular, with q and q' in the place of x and y.
struct Triangle {
  float xx, xy, yy;
};

// A vector of length `least` or less is rounding, and becomes zero. Ends with a barrier.
__device__ inline Triangle orthonormalise(float* x, float* y, int ld, float least) {
  QKS_SHARED(double[3][kThreads / 32], parts);
  double xx = 0, xy = 0, yy = 0;
  for (int e = threadIdx.x; e < ld; e += blockDim.x) {
    const double a = x[e], b = y[e];
    xx += a * a;
    xy += a * b;
    yy += b * b;
  }
  xx = warpSum(xx);
  xy = warpSum(xy);
  yy = warpSum(yy);
  if (threadIdx.x % 32 == 0) {
    parts[0][threadIdx.x / 32] = xx;
    parts[1][threadIdx.x / 32] = xy;
    parts[2][threadIdx.x / 32] = yy;
  }
  __syncthreads();
  xx = xy = yy = 0;
  for (int w = 0; w < kThreads / 32; w++) {
    xx += parts[0][w];
    xy += parts[1][w];
    yy += parts[2][w];
  }
  Triangle r{static_cast<float>(sqrt(xx)), 0, 0};
  float inverse = 0, other = 0;
  if (r.xx > least) {
    inverse = 1 / r.xx;
    r.xy = static_cast<float>(xy / sqrt(xx));
    yy -= xy * xy / xx;
  } else {
    r.xx = 0;
  }
  // What is left of two vectors that are parallel but for a millionth is rounding too.
  r.yy = yy > 0 ? static_cast<float>(sqrt(yy)) : 0.0f;
  if (r.yy > least && r.yy > 1e-6f * fabs(r.xy)) {
    other = 1 / r.yy;
  } else {
    r.yy = 0;
  }
  for (int e = threadIdx.x; e < ld; e += blockDim.x) {
    const float unit = x[e] * inverse;
    y[e] = (y[e] - r.xy * unit) * other;
    x[e] = unit;
  }
  __syncthreads();
  return r;
}

// Pivots of T - x that are positive: is an eigenvalue above x? T of size `size`.
__device__ inline bool eigenvalueAbove(const Band& t, int size, float x) {
  // Of the two pivots before: their inverses, and the entry below the last one.
  float inverse = 0, inverseBefore = 0, below = 0;
  bool above = false;
  for (int i = 0; i < size; i++) {
    const float two = i > 1 ? t.c[i - 2] : 0.0f;
    const float now = (i > 0 ? t.b[i - 1] : 0.0f) - two * below * inverseBefore;
    float pivot = t.a[i] - x - now * now * inverse - two * two * inverseBefore;
    if (pivot == 0) {
      pivot = -1e-7f * x;
    }
    above |= pivot > 0;
    inverseBefore = inverse;
    inverse = 1 / pivot;
    below = now;
  }
  return above;
}

// Largest eigenvalue of T, not below `known`: every thread tries a point of the interval, three times, each 257 times
// narrower.
__device__ inline float largestEigenvalue(const Band& t, int size, float known) {
  QKS_SHARED(int[kThreads / 32], counts);
  float low = known, high = 0;
  for (int i = 0; i < size; i++) {
    const float beside = fabs(t.b[i]) + fabs(t.c[i]),
                before = (i > 0 ? fabs(t.b[i - 1]) : 0.0f) + (i > 1 ? fabs(t.c[i - 2]) : 0.0f);
    const float most = t.a[i] + before + (i + 1 < size ? beside : 0.0f);
    low = t.a[i] > low ? t.a[i] : low;
    high = most > high ? most : high;
  }
  high = high > low ? high : low;
  for (int round = 0; round < 3 && high > low; round++) {
    const float step = (high - low) / (kThreads + 1), x = low + step * static_cast<float>(threadIdx.x + 1);
    const unsigned lanes = __ballot_sync(0xffffffffu, eigenvalueAbove(t, size, x));
    if (threadIdx.x % 32 == 0) {
      counts[threadIdx.x / 32] = __popc(lanes);
    }
    __syncthreads();
    int all = 0;
    for (int w = 0; w < kThreads / 32; w++) {
      all += counts[w];
    }
    __syncthreads();
    low += step * static_cast<float>(all);
    high = low + step;
  }
  return low + 0.5f * (high - low);
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
    for (int k = threadIdx.x / 32; k < rank; k += kThreads / 32) {
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

__global__ void __launch_bounds__(kThreads, 2) spectralKernel(SpectralTask t) {
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
  t.steps = std::min(kMostSteps, d - removed.rank);
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
  launch("largest singular values", spectralKernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared,
         device.stream, t);
  if (!t.basisShared) {
    device.stream.finish("largest singular values");
  }
}

}  // namespace qkspace
