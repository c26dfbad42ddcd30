// Looking through the rows of a batch, in host memory or on the device, for numbers that are not finite.
#pragma once

#include <cstdint>
#include <vector>

#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/rows/device_rows.cuh"
#include "cuda/runtime/device.h"

namespace qkspace {

struct HeadRow {
  int32_t head = 0, row = 0;
};
// Whether one of the rows named is not finite, and the first head and row where it is.
bool findNonFiniteHostRow(const RowView& view, int32_t heads, int32_t d, const std::vector<int32_t>& rows, Pool& pool,
                          HeadRow& found);

// Whether one of the rows named (on the device) is not finite, and the first head and row where it is. Waits.
bool findNonFiniteRow(Device&, const DeviceRows&, const int32_t* rows, int64_t count, HeadRow& found);

// Fails with the tensor's name and where the number is.
[[noreturn]] void failNonFinite(const char* name, const HeadRow& found);

}  // namespace qkspace
