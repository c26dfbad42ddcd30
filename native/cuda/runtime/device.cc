#include "cuda/runtime/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace qkspace {

Device::Device(int index, size_t limit) : index(index) {
  const char* wanted = std::getenv("QKSPACE_CUDA_PLAIN");
  plain = wanted && std::strcmp(wanted, "1") == 0;
  check(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "reading the device's memory");
  budget.limit = limit ? std::min(limit, free) : free / 10 * 9;
}

}  // namespace qkspace
