#include "cuda/runtime/device.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "common/status.h"

namespace qkspace {
namespace {

// Whether this library has code for sm_90a (CMakeLists.txt), where the kernels of products/hopper are not empty.
#if defined(QKS_BUILT_FOR_HOPPER) || defined(QKS_CUDA_ON_HOST)
constexpr bool kBuiltForHopper = true;
#else
constexpr bool kBuiltForHopper = false;
#endif

std::string wantedKernels() {
  const char* wanted = std::getenv("QKSPACE_CUDA_KERNELS");
  const std::string name = wanted ? wanted : "";
  if (!name.empty() && name != "plain" && name != "mma") {
    fail(QKS_E_ARGUMENT, "QKSPACE_CUDA_KERNELS is '" + name + "', expected 'plain' or 'mma'");
  }
  return name;
}

}  // namespace

Device::Device(int index, size_t limit) : index(index) {
  const std::string wanted = wantedKernels();
  plain = wanted == "plain";
  check(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
  hopper = kBuiltForHopper && properties.major == 9 && properties.minor == 0 && wanted != "mma";
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "reading the device's memory");
  budget.limit = limit ? std::min(limit, free) : free / 10 * 9;
}

}  // namespace qkspace
