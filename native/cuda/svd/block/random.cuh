// Seeded numbers that every thread computes for itself.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace qkspace {

// splitmix64 of an index, uniform in [-1, 1): every thread computes its own entries.
__host__ __device__ inline double randomAt(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>(static_cast<int64_t>(z ^ (z >> 31))) * 1.0842021724855044e-19;
}

}  // namespace qkspace
