// f32 numbers that came from 16-bit ones travel as those: half the bytes on the bus, and the same bits on the device.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace qkspace {

// How rows in f32 travel; other rows travel as they are.
enum class Travel : int32_t { kUnknown, kBf16, kF16, kAsIs };

// The 16-bit type that holds all of these numbers exactly, or kAsIs.
Travel travelOf(const float* from, size_t count);
// What is tried once some number has turned out not to be exact.
inline Travel nextTravel(Travel failed) { return failed == Travel::kBf16 ? Travel::kF16 : Travel::kAsIs; }

// Writes the numbers in 16 bits; false where one of them is not exact, and `to` is void then.
bool narrow(Travel travel, const float* from, size_t count, uint16_t* to);

// out [count] = the numbers in f32. Launches only: it does not wait.
void widen(cudaStream_t, Travel travel, const uint16_t* from, int64_t count, float* out);

}  // namespace qkspace
