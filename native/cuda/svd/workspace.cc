#include "cuda/svd/workspace.h"

namespace qkspace {

size_t SvdWorkspace::bytes() const {
  size_t bytes = 0;
  for (const DeviceBuffer* buffer : {&raw[0], &raw[1], &matrices, &transposed, &y, &v, &small, &packed, &scratch}) {
    bytes += buffer->bytes();
  }
  return bytes;
}

void SvdWorkspace::release() {
  for (DeviceBuffer* buffer : {&raw[0], &raw[1], &matrices, &transposed, &y, &v, &small, &packed, &scratch}) {
    buffer->release();
  }
}

}  // namespace qkspace
