#include "cuda/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace qkspace {
namespace {

// Laps whose events are kept before they are added up.
constexpr size_t kMostLaps = 256;

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

size_t MemoryBudget::available() const {
  size_t bytes = limit - std::min(limit, used);
  for (const Kept* some : kept)
    if (!some->inUse_) bytes += some->bytes();
  return std::min(limit, bytes);
}

void MemoryBudget::releaseIdle() {
  for (Kept* some : kept)
    if (!some->inUse_) some->release();
}

void DeviceBuffer::reserve(size_t bytes, const char* what) {
  if (bytes <= bytes_) return;
  release();
  MemoryBudget& budget = *budget_;
  if (budget.used + bytes > budget.limit) budget.releaseIdle();
  if (budget.used + bytes > budget.limit)
    fail(QKS_E_OUT_OF_MEMORY, std::string(what) + " needs " + mebibytes(bytes) + " of GPU memory; " +
                                  mebibytes(budget.used) + " of " + mebibytes(budget.limit) + " are in use");
  cudaError_t error = cudaMalloc(&data_, bytes);
  if (error == cudaErrorMemoryAllocation) {
    // Others use the device too.
    budget.releaseIdle();
    cudaGetLastError();
    error = cudaMalloc(&data_, bytes);
  }
  if (error != cudaSuccess) {
    data_ = nullptr;
    cudaGetLastError();  // the next call starts without it
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail(error == cudaErrorMemoryAllocation ? QKS_E_OUT_OF_MEMORY : QKS_E_BACKEND,
         std::string(what) + " needs " + mebibytes(bytes) + " of GPU memory: " + cudaGetErrorString(error) + " (" +
             mebibytes(free) + " of " + mebibytes(total) + " are free)");
  }
  bytes_ = bytes;
  budget.used += bytes;
}

void DeviceBuffer::release() {
  if (!data_) return;
  cudaFree(data_);
  data_ = nullptr;
  budget_->used -= bytes_;
  bytes_ = 0;
}

void PinnedBuffer::reserve(size_t bytes, size_t keep) {
  if (bytes <= bytes_) return;
  void* larger = nullptr;
  check(cudaHostAlloc(&larger, bytes, cudaHostAllocDefault), "page-locked memory of " + mebibytes(bytes));
  if (keep) std::memcpy(larger, data_, keep);
  cudaFreeHost(data_);
  data_ = larger;
  bytes_ = bytes;
}

void Stopwatch::start(cudaStream_t stream) {
  // The older half: the newer one may still be running.
  if (used_ == kMostLaps) collect(kMostLaps / 2);
  if (used_ == pairs_.size()) pairs_.push_back(std::make_unique<Pair>());
  check(cudaEventRecord(pairs_[used_]->start, stream), "recording an event");
}

// In a destructor: a failure shows at the next call that waits for the stream.
void Stopwatch::stop(cudaStream_t stream) {
  if (cudaEventRecord(pairs_[used_]->stop, stream) == cudaSuccess) used_++;
}

void Stopwatch::collect(size_t count) {
  for (size_t i = 0; i < count; i++) {
    float lap = 0;
    check(cudaEventSynchronize(pairs_[i]->stop), "waiting for an event");
    check(cudaEventElapsedTime(&lap, pairs_[i]->start, pairs_[i]->stop), "reading a time");
    milliseconds_ += lap;
  }
  std::rotate(pairs_.begin(), pairs_.begin() + static_cast<std::ptrdiff_t>(count), pairs_.end());
  used_ -= count;
}

double Stopwatch::take() {
  collect(used_);
  return std::exchange(milliseconds_, 0);
}

Device::Device(int index, size_t limit) : index(index) {
  const char* wanted = std::getenv("QKSPACE_CUDA_PLAIN");
  plain = wanted && std::strcmp(wanted, "1") == 0;
  check(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "reading the device's memory");
  budget.limit = limit ? std::min(limit, free) : free / 10 * 9;
}

}  // namespace qkspace
