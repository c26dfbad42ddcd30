#include "cuda/runtime/choose_device.h"

#include <cstdio>

#include "common/status.h"
#include "cuda/runtime/check.h"

namespace qkspace {

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string uuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; i++) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", static_cast<unsigned>(static_cast<unsigned char>(uuid.bytes[i])));
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      text += '-';
    }
    text += pair;
  }
  return text;
}

int chooseDevice(const std::string& wanted) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    fail(QKS_E_BACKEND, std::string("no CUDA device can be used: ") + cudaGetErrorString(error) +
                            (driver == 0 ? " (there is no NVIDIA driver)"
                                         : " (the driver is for CUDA " + versionText(driver) +
                                               ", the backend was built with " + versionText(runtime) + ")"));
  }
  if (count == 0) {
    fail(QKS_E_BACKEND, "there is no CUDA device");
  }
  std::string known;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, i), "reading a device's properties");
    const std::string uuid = uuidText(properties.uuid);
    if (wanted.empty() || wanted == std::to_string(i) || wanted == uuid) {
      if (properties.major < 8) {
        fail(QKS_E_BACKEND, std::string(properties.name) + " has compute capability " +
                                std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                ", 8.0 is the least that is supported");
      }
      return i;
    }
    known += (i ? ", " : "") + std::to_string(i) + " = " + properties.name + " (" + uuid + ")";
  }
  fail(QKS_E_BACKEND, "there is no CUDA device '" + wanted + "'; there are " + known);
}

}  // namespace qkspace
