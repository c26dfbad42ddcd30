#include "cuda/rows/resident_rows.h"

#include <cstddef>
#include <cstdint>

#include "common/batch.h"

namespace qkspace {

ResidentRows::ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel)
    : data(device.budget), shape(tensor) {
  const RowView view = checkTensor(tensor, tensor.shape[2], tensor.shape[3], "tensor");
  const int64_t heads = tensor.shape[2], d = tensor.shape[3];
  data.reserve(static_cast<size_t>(view.rows * heads * d) * elementSize(tensor.dtype), "a resident tensor");
  transfer.rows(view, heads, d, nullptr, view.rows, data.get<char>(), cancel);
  device.copies.finish("copying to the device");
  shape.data = nullptr;
}

}  // namespace qkspace
