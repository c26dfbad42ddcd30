// The largest magnitudes of rows on the device, by head. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows/device_rows.cuh"

namespace qkspace {

// Raises largest [heads] to the largest magnitudes (bits of f32: magnitudes.cuh) of rows [0, count).
void findMagnitudes(cudaStream_t, const DeviceRows&, int64_t count, uint32_t* largest);

}  // namespace qkspace
