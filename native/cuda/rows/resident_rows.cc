#include "cuda/rows/resident_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/batch.h"
#include "common/status.h"
#include "cuda/rows/range/magnitudes.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

ResidentRows::ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel)
    : data(device.budget), shape(tensor) {
  const RowView view = checkTensor(tensor, tensor.shape[2], tensor.shape[3], "tensor");
  const int64_t heads = tensor.shape[2], d = tensor.shape[3];
  if (heads > 32767) {
    fail(QKS_E_ARGUMENT, "a tensor on a GPU has " + std::to_string(heads) + " heads, at most 32767 are supported");
  }
  Event arrived;
  data.reserve(static_cast<size_t>(view.rows * heads * d) * elementSize(tensor.dtype), "a resident tensor");
  Travel travel = Travel::kUnknown;
  transfer.rows(view, heads, d, nullptr, view.rows, data.get<char>(), travel, cancel);
  follow(device.stream, device.copies, arrived);
  largest.assign(static_cast<size_t>(heads), 0);
  DeviceBuffer found(device.budget);
  const size_t bytes = largest.size() * sizeof(uint32_t);
  found.reserve(std::max<size_t>(64, bytes), "the largest magnitudes of heads");
  check(cudaMemsetAsync(found.get<uint32_t>(), 0, bytes, device.stream), "clearing magnitudes");
  findMagnitudes(device.stream, {data.get<void>(), tensor.dtype, static_cast<int32_t>(heads), static_cast<int32_t>(d)},
                 view.rows, found.get<uint32_t>());
  check(cudaMemcpyAsync(largest.data(), found.get<uint32_t>(), bytes, cudaMemcpyDeviceToHost, device.stream),
        "reading magnitudes");
  device.stream.finish("copying to the device");
  shape.data = nullptr;
}

}  // namespace qkspace
