// What the sweeps work on, and the rotation of two vectors (formulas: sweeps.cuh).
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>

#include "cuda/svd/block/packet.cuh"
#include "cuda/svd/block/sums.cuh"

namespace qkspace {

template <typename T>
struct JacobiLimits {
  T rotate;   // cosines (squared) above this are rotated away
  T another;  // a sweep that met one (squared) above this is followed by another
  int sweeps;
};

// What the sweeps work on. `lengths` holds squared lengths; vectors of at most `least` are left alone.
template <typename T>
struct JacobiVectors {
  T *y, *v;  // [n, ldy]; [n, ldv] or null
  int n, ldy, ldv;
  T* lengths;
  T least;
  JacobiLimits<T> limits;
};

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
    if (j < n && lane == 0) {
      out[j] = sum;
    }
  }
}

template <typename T>
struct Rotation {
  T c, s, moved;  // what of the squared lengths moves from the first vector to the second
};

// In f32 by the approximate inverse and inverse root of the device, to a few units in the last place: V need not be
// orthonormal to more before it is corrected in f64. A fifth of the instructions of exact ones.
__device__ inline Rotation<float> rotationOf(float a, float b, float g) {
  const float zeta = __fdividef(0.5f * (b - a), g), square = 1 + zeta * zeta;
  const float tangent = copysignf(__fdividef(1.0f, fabsf(zeta) + square * rsqrtf(square)), zeta);
  // Once more by Newton's method: an error of a few units would add up over a thousand rotations.
  const float rough = rsqrtf(1 + tangent * tangent);
  const float c = rough * (1.5f - 0.5f * (1 + tangent * tangent) * rough * rough);
  return Rotation<float>{c, c * tangent, tangent * g};
}

template <typename T>
__device__ inline Rotation<T> rotationOf(T a, T b, T g) {
  const T zeta = (b - a) / (2 * g);
  const T tangent = copysign(T(1), zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
  const T c = 1 / sqrt(1 + tangent * tangent);
  return Rotation<T>{c, c * tangent, tangent * g};
}

}  // namespace qkspace
