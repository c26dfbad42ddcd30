#include "cuda/covariance/workspace.h"

namespace qkspace {

size_t CovarianceWorkspace::workingBytes() const {
  size_t bytes = partial.bytes() + keyRows.bytes() + labelSums.bytes();
  for (const ChunkBuffers& buffers : chunkBuffers) {
    bytes += buffers.rows.bytes() + buffers.indices.bytes();
  }
  return bytes;
}

void CovarianceWorkspace::release() {
  for (ChunkBuffers& buffers : chunkBuffers) {
    buffers.rows.release();
    buffers.indices.release();
  }
  for (DeviceBuffer* buffer : {&partial, &keyRows, &labelSums, &batchSums, &flags, &magnitudes, &heads}) {
    buffer->release();
  }
}

void CovarianceWorkspace::reserveRows(Device& device, ChunkBuffers& buffers, size_t bytes) {
  if (bytes <= buffers.rows.bytes()) {
    return;
  }
  device.copies.finish("copying to the device");
  device.stream.finish("summing a batch");
  ChunkBuffers& other = chunkBuffers[&buffers == &chunkBuffers[0] ? 1 : 0];
  buffers.rows.release();
  if (bytes > device.budget.available()) {
    other.rows.release();
  }
  buffers.rows.reserve(bytes, "the batch's rows");
}

}  // namespace qkspace
