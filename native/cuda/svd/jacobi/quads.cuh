// A sweep in which four vectors meet at a time, of a length that is known when this is compiled.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/runtime/unroll.cuh"
#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/jacobi/rotation.cuh"
#include "cuda/svd/jacobi/schedule.cuh"

namespace qkspace {

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
    if (!(a > least) || !(b > least) || !(g * g > limits.rotate * (a * b))) {
      return;
    }
    met |= g * g > limits.another * (a * b);
    turned = 1;
    const Rotation<T> r = rotationOf(a, b, g);
    c[At] = r.c;
    s[At] = r.s;
    length[I] = a - r.moved;
    length[J] = b + r.moved;
    QKS_UNROLL
    for (int e = 0; e < kPackets; e++) {
      turn(row[I][e], row[J][e], r.c, r.s);
    }
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
          if (there) {
            q.row[j][e] = load(row + e * kQuadLanes);
          }
        }
      }
      q.turned = 0;
      if (round == 0) {
        q.template meetBoth<0, 1, 2, 3, 4>(w.least, w.limits);
      }
      q.template meetBoth<0, 2, 1, 3, 0>(w.least, w.limits);
      q.template meetBoth<0, 3, 1, 2, 2>(w.least, w.limits);
      // Lane 0 writes the lengths below, and every lane has read them above.
      __syncwarp();
      if (!q.turned) {
        continue;
      }
      QKS_UNROLL
      for (int j = 0; j < 4; j++) {
        if (index[j] >= w.n) {
          continue;
        }
        P* row = reinterpret_cast<P*>(w.y + static_cast<size_t>(index[j]) * w.ldy) + lane;
        QKS_UNROLL
        for (int e = 0; e < kPackets; e++) {
          store(row + e * kQuadLanes, q.row[j][e]);
        }
        if (lane == 0) {
          w.lengths[index[j]] = q.length[j];
        }
      }
      if (!w.v) {
        continue;
      }
      for (int e = lane; e < w.ldv / P::size; e += kQuadLanes) {
        P x[4];
        QKS_UNROLL
        for (int j = 0; j < 4; j++) {
          x[j] = P{};
          if (index[j] < w.n) {
            x[j] = load(reinterpret_cast<const P*>(w.v + static_cast<size_t>(index[j]) * w.ldv) + e);
          }
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
        for (int j = 0; j < 4; j++) {
          if (index[j] < w.n) {
            store(reinterpret_cast<P*>(w.v + static_cast<size_t>(index[j]) * w.ldv) + e, x[j]);
          }
        }
      }
    }
    __syncthreads();
  }
  return q.met;
}

}  // namespace qkspace
