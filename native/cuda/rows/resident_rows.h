// Tensors of queries or keys that stay on the device from call to call.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/memory.h"

namespace qkspace {

struct ResidentRows {
  DeviceBuffer data;
  qks_tensor shape{};             // without data
  std::vector<uint32_t> largest;  // [heads], magnitudes (magnitudes.cuh)
  ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel);
};

// What is behind a handle of the C table, null for null. Defined where the handles are: cuda/backend.cc.
const ResidentRows* residentRows(const qks_rows* rows);

}  // namespace qkspace
