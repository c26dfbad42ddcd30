// 16 bytes of a row of numbers: read, turned and multiplied together.
#pragma once

#include <cuda_runtime.h>

#include "cuda/runtime/unroll.cuh"

namespace qkspace {

template <typename T>
struct alignas(16) Packet {
  static constexpr int size = 16 / sizeof(T);
  T x[size];
};

// 16 bytes in one instruction, which copying the struct is not always compiled to.
#if defined(QKS_CUDA_ON_HOST)
template <typename T>
Packet<T> load(const Packet<T>* from) {
  cuda_on_host::requireAligned(from, sizeof *from, "a load");
  return *from;
}
template <typename T>
void store(Packet<T>* to, const Packet<T>& value) {
  cuda_on_host::requireAligned(to, sizeof *to, "a store");
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

// Rows are padded by zeros to this length, of which packets are read without a remainder.
__host__ __device__ inline int paddedLength(int length) { return (length + 31) / 32 * 32; }

template <typename T>
__device__ inline T dotOf(const Packet<T>& a, const Packet<T>& b, T sum) {
  QKS_UNROLL
  for (int e = 0; e < Packet<T>::size; e++) {
    sum += a.x[e] * b.x[e];
  }
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

}  // namespace qkspace
