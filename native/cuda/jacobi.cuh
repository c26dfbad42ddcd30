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
// Layout: rows padded by zeros to a multiple of 32 elements. Lanes read 16 bytes each, 128 contiguous ones of a row at
// a time, which is free of bank conflicts whatever the rows are.
//
// Count, a sweep: 9 n^2 / 2 multiply-adds a row element. In pairs: n - 1 rounds, each reads Y twice, V once, and
// writes both. In quads: n / 2 - 1 rounds, each reads and writes both once; at 128 x 128 in f32, 63 rounds of 256 KiB
// of shared memory = 2,048 clocks at 128 bytes a clock, beside about 2,200 of issue: bound by both.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/unroll.cuh"

namespace qkspace {

constexpr int kPairLanes = 8;  // lanes that share a pair

template <typename T>
struct alignas(16) Packet {
  static constexpr int size = 16 / sizeof(T);
  T x[size];
};

// 16 bytes in one instruction, which copying the struct is not always compiled to.
#if defined(QKS_CUDA_ON_HOST)
template <typename T>
Packet<T> load(const Packet<T>* from) {
  return *from;
}
template <typename T>
void store(Packet<T>* to, const Packet<T>& value) {
  *to = value;
}
#else
__device__ inline Packet<float> load(const Packet<float>* from) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  return Packet<float>{{v.x, v.y, v.z, v.w}};
}
__device__ inline Packet<double> load(const Packet<double>* from) {
  const double2 v = *reinterpret_cast<const double2*>(from);
  return Packet<double>{{v.x, v.y}};
}
__device__ inline void store(Packet<float>* to, const Packet<float>& v) {
  *reinterpret_cast<float4*>(to) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
}
__device__ inline void store(Packet<double>* to, const Packet<double>& v) {
  *reinterpret_cast<double2*>(to) = make_double2(v.x[0], v.x[1]);
}
#endif

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

template <typename T>
__device__ inline void turnRows(Packet<T>* first, Packet<T>* second, T c, T s) {
  Packet<T> x = load(first), y = load(second);
  turn(x, y, c, s);
  store(first, x);
  store(second, y);
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
      for (int e = lane; e < ld / Packet<T>::size; e += kPairLanes) {
        const Packet<T> x = load(row + e);
        sum = dotOf(x, x, sum);
      }
    }
    sum = pairSum(sum);
    if (j < n && lane == 0) out[j] = sum;
  }
}

template <typename T>
struct Rotation {
  T c, s, moved;  // what of the squared lengths moves from the first vector to the second
};

template <typename T>
__device__ inline Rotation<T> rotationOf(T a, T b, T g) {
  const T zeta = (b - a) / (2 * g);
  const T tangent = copysign(T(1), zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
  const T c = 1 / sqrt(1 + tangent * tangent);
  return Rotation<T>{c, c * tangent, tangent * g};
}

// What the sweeps work on. `lengths` holds squared lengths; vectors of at most `least` are left alone.
template <typename T>
struct JacobiVectors {
  T *y, *v;  // [n, ldy]; [n, ldv] or null
  int n, ldy, ldv;
  T* lengths;
  T least;
  JacobiLimits<T> limits;
};

// Vectors keep their places. To exchange two as they turn, so that the longer comes first, would undo the schedule:
// a third more sweeps, as counted.

// The plainest form: a round rotates n / 2 pairs, whose rows are read from memory twice. Returns whether this thread
// met a cosine that asks for another sweep.
template <typename T>
__device__ inline int sweepOfPairs(const JacobiVectors<T>& w) {
  typedef Packet<T> P;
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;
  const int size = (w.n + 1) / 2 * 2, pairs = size / 2;
  int met = 0;
  for (int round = 0; round < size - 1; round++) {
    for (int from = 0; from < pairs; from += groups) {
      const int k = from + group;
      VectorPair pair{0, w.n};
      if (k < pairs) pair = pairOfRound(size, round, k);
      T a = 0, b = 0, g = 0;
      if (pair.second < w.n) {
        a = w.lengths[pair.first];
        b = w.lengths[pair.second];
      }
      const bool both = a > w.least && b > w.least;
      P* first = reinterpret_cast<P*>(w.y + static_cast<size_t>(pair.first) * w.ldy);
      P* second = reinterpret_cast<P*>(w.y + static_cast<size_t>(pair.second) * w.ldy);
      for (int e = lane; both && e < w.ldy / P::size; e += kPairLanes) g = dotOf(load(first + e), load(second + e), g);
      g = pairSum(g);
      if (!both || !(g * g > w.limits.rotate * (a * b))) continue;
      met |= g * g > w.limits.another * (a * b);
      const Rotation<T> r = rotationOf(a, b, g);
      for (int e = lane; e < w.ldy / P::size; e += kPairLanes) turnRows(first + e, second + e, r.c, r.s);
      if (w.v) {
        first = reinterpret_cast<P*>(w.v + static_cast<size_t>(pair.first) * w.ldv);
        second = reinterpret_cast<P*>(w.v + static_cast<size_t>(pair.second) * w.ldv);
        for (int e = lane; e < w.ldv / P::size; e += kPairLanes) turnRows(first + e, second + e, r.c, r.s);
      }
      if (lane == 0) {
        w.lengths[pair.first] = a - r.moved;
        w.lengths[pair.second] = b + r.moved;
      }
    }
    __syncthreads();
  }
  return met;
}

constexpr int kQuadLanes = 16;

// Four rows in registers, kPackets of each in every lane, in which two pairs at a time meet.
template <typename T, int kPackets>
struct Quad {
  Packet<T> row[4][kPackets];
  T length[4], c[6], s[6];
  int turned, met;

  template <int I, int J, int At>
  __device__ inline void meet(T g, T least, const JacobiLimits<T>& limits) {
    c[At] = 1;
    s[At] = 0;
    const T a = length[I], b = length[J];
    if (!(a > least) || !(b > least) || !(g * g > limits.rotate * (a * b))) return;
    met |= g * g > limits.another * (a * b);
    turned = 1;
    const Rotation<T> r = rotationOf(a, b, g);
    c[At] = r.c;
    s[At] = r.s;
    length[I] = a - r.moved;
    length[J] = b + r.moved;
    QKS_UNROLL
    for (int e = 0; e < kPackets; e++) turn(row[I][e], row[J][e], r.c, r.s);
  }
  template <int I, int J, int K, int L, int At>
  __device__ inline void meetBoth(T least, const JacobiLimits<T>& limits) {
    T g = 0, h = 0;
    QKS_UNROLL
    for (int e = 0; e < kPackets; e++) {
      g = dotOf(row[I][e], row[J][e], g);
      h = dotOf(row[K][e], row[L][e], h);
    }
    QKS_UNROLL
    for (int step = 1; step < kQuadLanes; step *= 2) {
      g += __shfl_xor_sync(0xffffffffu, g, step);
      h += __shfl_xor_sync(0xffffffffu, h, step);
    }
    meet<I, J, At>(g, least, limits);
    meet<K, L, At + 1>(h, least, limits);
  }
};

// The fast form: rows go in twos, and where two twos meet, all four pairs between them are rotated while the rows are
// in registers (in the first round also the pairs within). Half the traffic and half the barriers of sweepOfPairs,
// with the same pairs, each once a sweep.
template <typename T, int kPackets>
__device__ inline int sweepOfQuads(const JacobiVectors<T>& w) {
  typedef Packet<T> P;
  const int group = threadIdx.x / kQuadLanes, lane = threadIdx.x % kQuadLanes, groups = blockDim.x / kQuadLanes;
  const int twos = (w.n + 3) / 4 * 2, quads = twos / 2;
  Quad<T, kPackets> q;
  q.met = 0;
  for (int round = 0; round < twos - 1; round++) {
    for (int from = 0; from < quads; from += groups) {
      const int k = from + group;
      const VectorPair pair = k < quads ? pairOfRound(twos, round, k) : VectorPair{w.n, w.n};
      const int index[4] = {2 * pair.first, 2 * pair.first + 1, 2 * pair.second, 2 * pair.second + 1};
      QKS_UNROLL
      for (int j = 0; j < 4; j++) {
        const bool there = index[j] < w.n;
        const P* row = reinterpret_cast<const P*>(w.y + static_cast<size_t>(there ? index[j] : 0) * w.ldy) + lane;
        q.length[j] = there ? w.lengths[index[j]] : T(0);
        QKS_UNROLL
        for (int e = 0; e < kPackets; e++) {
          q.row[j][e] = P{};
          if (there) q.row[j][e] = load(row + e * kQuadLanes);
        }
      }
      q.turned = 0;
      if (round == 0) q.template meetBoth<0, 1, 2, 3, 4>(w.least, w.limits);
      q.template meetBoth<0, 2, 1, 3, 0>(w.least, w.limits);
      q.template meetBoth<0, 3, 1, 2, 2>(w.least, w.limits);
      if (!q.turned) continue;
      QKS_UNROLL
      for (int j = 0; j < 4; j++) {
        if (index[j] >= w.n) continue;
        P* row = reinterpret_cast<P*>(w.y + static_cast<size_t>(index[j]) * w.ldy) + lane;
        QKS_UNROLL
        for (int e = 0; e < kPackets; e++) store(row + e * kQuadLanes, q.row[j][e]);
        if (lane == 0) w.lengths[index[j]] = q.length[j];
      }
      if (!w.v) continue;
      for (int e = lane; e < w.ldv / P::size; e += kQuadLanes) {
        P x[4];
        QKS_UNROLL
        for (int j = 0; j < 4; j++) {
          x[j] = P{};
          if (index[j] < w.n) x[j] = load(reinterpret_cast<const P*>(w.v + static_cast<size_t>(index[j]) * w.ldv) + e);
        }
        if (round == 0) {
          turn(x[0], x[1], q.c[4], q.s[4]);
          turn(x[2], x[3], q.c[5], q.s[5]);
        }
        turn(x[0], x[2], q.c[0], q.s[0]);
        turn(x[1], x[3], q.c[1], q.s[1]);
        turn(x[0], x[3], q.c[2], q.s[2]);
        turn(x[1], x[2], q.c[3], q.s[3]);
        QKS_UNROLL
        for (int j = 0; j < 4; j++)
          if (index[j] < w.n) store(reinterpret_cast<P*>(w.v + static_cast<size_t>(index[j]) * w.ldv) + e, x[j]);
      }
    }
    __syncthreads();
  }
  return q.met;
}

// Sweeps until one meets nothing above limits.another; squared lengths are fresh at the end. kLong: the length of a
// row that is known when this is compiled, 0 = any. Returns whether it settled.
template <typename T, int kLong>
__device__ bool jacobiSweeps(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  const JacobiVectors<T> w{y, v, n, ldy, ldv, lengths, least, limits};
  bool settled = n < 2;
  for (int sweep = 0; sweep < limits.sweeps && !settled; sweep++) {
    squaredLengths(y, n, ldy, lengths);
    __syncthreads();
    int met;
    if constexpr (kLong > 0)
      met = sweepOfQuads<T, kLong / Packet<T>::size / kQuadLanes>(w);
    else
      met = sweepOfPairs(w);
    settled = !__syncthreads_or(met);
  }
  squaredLengths(y, n, ldy, lengths);
  __syncthreads();
  return settled;
}

template <typename T>
__device__ inline bool jacobi(T* y, int ldy, T* v, int ldv, int n, T* lengths, T least, JacobiLimits<T> limits) {
  if (ldy == 128) return jacobiSweeps<T, 128>(y, ldy, v, ldv, n, lengths, least, limits);
  if (ldy == 64) return jacobiSweeps<T, 64>(y, ldy, v, ldv, n, lengths, least, limits);
  return jacobiSweeps<T, 0>(y, ldy, v, ldv, n, lengths, least, limits);
}

}  // namespace qkspace
