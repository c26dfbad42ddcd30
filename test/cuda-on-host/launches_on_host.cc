// Launches that a device of the emulated compute capability refuses are refused here, with an error that says why. Where
// CUDA_ON_HOST_LAUNCHES names a file, every launch that is not refused adds the kernel's name to it, on a line.
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "cuda_runtime.h"

namespace cuda_on_host {
namespace {

// Static and dynamic shared memory of a block together, unless the kernel's attribute allows more.
constexpr size_t kSharedByDefault = 48 * 1024;
constexpr unsigned kMostThreads = 1024, kMostThreadsDeep = 64;
constexpr unsigned kMostBlocksAcross = 2147483647u, kMostBlocksDown = 65535;
constexpr size_t kRegisters = 65536;  // of a multiprocessor, and so of a block

struct Refusal {
  cudaError_t error;
  std::string why;
};

std::mutex mutex;
// Dynamic shared memory that was asked for, by device and kernel.
std::map<std::pair<int, const void*>, size_t> allowed;
thread_local std::string lastRefusal;

std::string text(const dim3& size) {
  return std::to_string(size.x) + " x " + std::to_string(size.y) + " x " + std::to_string(size.z);
}

size_t allowedDynamic(const void* function, const Kernel& kernel) {
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = allowed.find({device, function});
  return found == allowed.end() ? kSharedByDefault - kernel.shared : found->second;
}

Refusal judgeSizes(const dim3& grid, const dim3& block) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > kMostBlocksAcross || grid.y > kMostBlocksDown ||
      grid.z > kMostBlocksDown) {
    return {cudaErrorInvalidConfiguration, "a grid of " + text(grid) + " blocks"};
  }
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || block.x > kMostThreads || block.y > kMostThreads || block.z > kMostThreadsDeep ||
      threads > kMostThreads) {
    return {cudaErrorInvalidConfiguration, "a block of " + text(block) + " threads"};
  }
  return {cudaSuccess, ""};
}

Refusal judgeResources(const Kernel& kernel, size_t threads, size_t dynamic, size_t allowedBytes) {
  if (dynamic > allowedBytes) {
    return {cudaErrorInvalidValue, std::to_string(kernel.shared) + " bytes of static and " + std::to_string(dynamic) +
                                       " of dynamic shared memory, " + std::to_string(allowedBytes) +
                                       " of dynamic allowed"};
  }
  if (threads > static_cast<size_t>(kernel.threads)) {
    return {cudaErrorInvalidValue,
            std::to_string(threads) + " threads, above __launch_bounds__ of " + std::to_string(kernel.threads)};
  }
  // Registers are given to whole warps, in eights a thread.
  const size_t each = (static_cast<size_t>(kernel.registers) + 7) / 8 * 8, lanes = (threads + 31) / 32 * 32;
  if (each * lanes > kRegisters) {
    return {cudaErrorLaunchOutOfResources,
            std::to_string(lanes) + " threads of " + std::to_string(each) + " registers"};
  }
  return {cudaSuccess, ""};
}

const char* nameOf(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDeviceFunction:
      return "invalid device function";
    case cudaErrorLaunchOutOfResources:
      return "too many resources requested for launch";
    default:
      return "invalid argument";
  }
}

cudaError_t refuse(const Kernel& kernel, const Refusal& refusal) {
  lastRefusal = std::string(nameOf(refusal.error)) + " (" + kernel.name + ": " + refusal.why + ")";
  return refusal.error;
}

void record(const Kernel& kernel) {
  if (const char* path = std::getenv("CUDA_ON_HOST_LAUNCHES")) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::ofstream(path, std::ios::app) << kernel.name << "\n";
  }
}

const Refusal kNotReported = {cudaErrorInvalidDeviceFunction, "not in nvcc's report: run 'npm run cuda:resources'"};

}  // namespace

cudaError_t launch(const void* function, const cudaLaunchConfig_t& config, std::function<void()> body) {
  lastRefusal.clear();
  const Kernel& kernel = kernelAt(function);
  if (!kernel.reported) {
    return refuse(kernel, kNotReported);
  }
  Refusal refusal = judgeSizes(config.gridDim, config.blockDim);
  if (refusal.error == cudaSuccess) {
    const size_t threads = static_cast<size_t>(config.blockDim.x) * config.blockDim.y * config.blockDim.z;
    refusal = judgeResources(kernel, threads, config.dynamicSmemBytes, allowedDynamic(function, kernel));
  }
  if (refusal.error != cudaSuccess) {
    return refuse(kernel, refusal);
  }
  record(kernel);
  enqueue(kernel, config, std::move(body));
  return cudaSuccess;
}

cudaError_t allowDynamicShared(const void* function, int bytes) {
  const Kernel& kernel = kernelAt(function);
  if (!kernel.reported) {
    return refuse(kernel, kNotReported);
  }
  if (bytes < 0 || kernel.shared + static_cast<size_t>(bytes) > sharedAtMost()) {
    return refuse(kernel, {cudaErrorInvalidValue, std::to_string(kernel.shared) + " bytes of static and " +
                                                      std::to_string(bytes) + " of dynamic shared memory"});
  }
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard<std::mutex> lock(mutex);
  allowed[{device, function}] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

cudaError_t attributesOf(const void* function, cudaFuncAttributes* out) {
  const Kernel& kernel = kernelAt(function);
  if (!kernel.reported) {
    return refuse(kernel, kNotReported);
  }
  *out = {kernel.shared, kernel.threads, kernel.registers};
  return cudaSuccess;
}

const char* refusal() { return lastRefusal.empty() ? nullptr : lastRefusal.c_str(); }

}  // namespace cuda_on_host
