// One-sided Jacobi by one thread block: rotates n vectors (rows y_0 .. y_{n-1} of length ld, contiguous) in pairs
// until all are orthogonal, and applies the same rotations to the rows of v. With Y = V B, V orthogonal, the rows
// end as y_j = s_j u_j, so that B = V^T diag(s) U (Hestenes 1958).
//
//   a = |y_i|^2, b = |y_j|^2, g = y_i . y_j;  zeta = (b - a) / 2g;  t = sign(zeta) / (|zeta| + sqrt(1 + zeta^2))
//   y_i <- c (y_i - t y_j), y_j <- c (y_j + t y_i), c = 1 / sqrt(1 + t^2);  a <- a - t g, b <- b + t g
//
// Why this one on a GPU: the n / 2 rotations of a round are independent of each other, small singular vectors come
// out orthogonal relative to their own length, and a start that is nearly orthogonal costs next to nothing.
//
// Layout: rows padded by zeros to a multiple of 32 elements. Eight lanes hold a pair and read 16 bytes each, 128
// contiguous ones of a row at a time, which is free of bank conflicts whatever the rows are.
//
// Count, a sweep: n - 1 rounds, each reads and writes Y and V once (2 (|Y| + |V|) bytes through shared memory) for
// 9 n^2 / 2 multiply-adds a row element: at 128 x 128 in f32, 256 KiB a round = 2,048 clocks at 128 bytes a
// clock, against about 900 of issue. Bound by shared memory; a round ends at one barrier.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(QKS_CUDA_ON_HOST)
#define QKS_UNROLL
#else
#define QKS_UNROLL _Pragma("unroll")
#endif

namespace qkspace {

constexpr int kPairLanes = 8;  // lanes that share a pair

template <typename T>
struct alignas(16) Packet {
  static constexpr int size = 16 / sizeof(T);
  T x[size];
};

__host__ __device__ inline int paddedLength(int length) { return (length + 31) / 32 * 32; }

struct VectorPair {
  int first, second;  // first < second
};

// Pair `k` of round `round`, `size` even: over size - 1 rounds of size / 2 pairs, every two of 0 .. size - 1 meet
// exactly once (the circle method: one index stands, the others turn).
__host__ __device__ inline VectorPair pairOfRound(int size, int round, int k) {
  const int circle = size - 1;
  int a, b;
  if (k == 0) {
    a = circle;
    b = round;
  } else {
    a = round + k < circle ? round + k : round + k - circle;
    b = round - k >= 0 ? round - k : round - k + circle;
  }
  return a < b ? VectorPair{a, b} : VectorPair{b, a};
}

template <typename T>
struct JacobiLimits {
  T rotate;   // cosines (squared) above this are rotated away
  T another;  // a sweep that met one (squared) above this is followed by another
  int sweeps;
};

// Sum over the lanes of a pair. The order is fixed, and all lanes get the same bits.
template <typename T>
__device__ inline T pairSum(T value) {
  for (int step = 1; step < kPairLanes; step *= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

template <typename T>
__device__ inline T dotOf(const Packet<T>& a, const Packet<T>& b, T sum) {
QKS_UNROLL
  for (int e = 0; e < Packet<T>::size; e++) sum += a.x[e] * b.x[e];
  return sum;
}

// Two packets become c x - s y and s x + c y.
template <typename T>
__device__ inline void turn(Packet<T>& x, Packet<T>& y, T c, T s) {
QKS_UNROLL
  for (int e = 0; e < Packet<T>::size; e++) {
    const T left = x.x[e], right = y.x[e];
    x.x[e] = c * left - s * right;
    y.x[e] = s * left + c * right;
  }
}

// Squared lengths of the rows of y.
template <typename T>
__device__ inline void squaredLengths(const T* y, int n, int ld, T* out) {
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  for (int from = 0; from < n; from += groups) {
    const int j = from + group;
    T sum = 0;
    if (j < n) {
      const Packet<T>* row = reinterpret_cast<const Packet<T>*>(y + static_cast<size_t>(j) * ld);
      for (int e = lane; e < ld / Packet<T>::size; e += kPairLanes) sum = dotOf(row[e], row[e], sum);
    }
    sum = pairSum(sum);
    if (j < n && lane == 0) out[j] = sum;
  }
}

// The sweeps. `v` may be null; `lengths` [n] holds the squared lengths of the rows at the end. Vectors whose squared
// length is at most `least` are left alone. kPackets: packets of a row that a lane keeps in registers, 0 = any
// number, read twice. Returns whether the last sweep left nothing to do.
template <typename T, int kPackets>
__device__ bool jacobiSweeps(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  typedef Packet<T> P;
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  const int size = (n + 1) / 2 * 2, pairs = size / 2;
  const int packetsY = ldy / P::size, packetsV = ldv / P::size;
  bool settled = n < 2;
  for (int sweep = 0; sweep < limits.sweeps && !settled; sweep++) {
    squaredLengths(y, n, ldy, lengths);
    __syncthreads();
    int met = 0;
    for (int round = 0; round < size - 1; round++) {
      for (int from = 0; from < pairs; from += groups) {
        const int k = from + group;
        VectorPair pair{0, 0};
        T a = 0, b = 0, g = 0;
        bool both = false;
        P left[kPackets ? kPackets : 1], right[kPackets ? kPackets : 1];
        P *first = nullptr, *second = nullptr;
        if (k < pairs) {
          pair = pairOfRound(size, round, k);
          if (pair.second < n) {
            a = lengths[pair.first];
            b = lengths[pair.second];
            both = a > least && b > least;
          }
        }
        if (both) {
          first = reinterpret_cast<P*>(y + static_cast<size_t>(pair.first) * ldy) + lane;
          second = reinterpret_cast<P*>(y + static_cast<size_t>(pair.second) * ldy) + lane;
          if (kPackets) {
QKS_UNROLL
            for (int e = 0; e < kPackets; e++) {
              left[e] = first[e * kPairLanes];
              right[e] = second[e * kPairLanes];
              g = dotOf(left[e], right[e], g);
            }
          } else {
            for (int e = 0; e < packetsY; e += kPairLanes) g = dotOf(first[e], second[e], g);
          }
        }
        g = pairSum(g);
        const T product = a * b;
        if (!both || !(g * g > limits.rotate * product)) continue;
        met |= g * g > limits.another * product;
        const T zeta = (b - a) / (2 * g);
        const T tangent = copysign(T(1), zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
        const T c = 1 / sqrt(1 + tangent * tangent), s = c * tangent;
        // Exchanging the two so that the longer comes first would undo the schedule: more sweeps, as measured.
        if (kPackets) {
QKS_UNROLL
          for (int e = 0; e < kPackets; e++) {
            turn(left[e], right[e], c, s);
            first[e * kPairLanes] = left[e];
            second[e * kPairLanes] = right[e];
          }
        } else {
          for (int e = 0; e < packetsY; e += kPairLanes) {
            P x = first[e], z = second[e];
            turn(x, z, c, s);
            first[e] = x;
            second[e] = z;
          }
        }
        if (v) {
          P* alongFirst = reinterpret_cast<P*>(v + static_cast<size_t>(pair.first) * ldv) + lane;
          P* alongSecond = reinterpret_cast<P*>(v + static_cast<size_t>(pair.second) * ldv) + lane;
QKS_UNROLL
          for (int e = 0; e < packetsV; e += kPairLanes) {
            P x = alongFirst[e], z = alongSecond[e];
            turn(x, z, c, s);
            alongFirst[e] = x;
            alongSecond[e] = z;
          }
        }
        if (lane == 0) {
          lengths[pair.first] = a - tangent * g;
          lengths[pair.second] = b + tangent * g;
        }
      }
      __syncthreads();
    }
    settled = !__syncthreads_or(met);
  }
  squaredLengths(y, n, ldy, lengths);
  __syncthreads();
  return settled;
}

// The same, with rows in registers where their length allows it.
template <typename T>
__device__ inline bool jacobi(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  constexpr int full = 128 / Packet<T>::size / kPairLanes;
  if (ldy == 128) return jacobiSweeps<T, full>(y, ldy, v, ldv, n, lengths, least, limits);
  if (ldy == 64) return jacobiSweeps<T, full / 2>(y, ldy, v, ldv, n, lengths, least, limits);
  return jacobiSweeps<T, 0>(y, ldy, v, ldv, n, lengths, least, limits);
}

}  // namespace qkspace
