#include "cuda/runtime/memory.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "common/status.h"
#include "cuda/runtime/check.h"

namespace qkspace {
namespace {

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

size_t MemoryBudget::available() const {
  size_t bytes = limit - std::min(limit, used);
  for (const Kept* some : kept) {
    if (!some->inUse_) {
      bytes += some->bytes();
    }
  }
  return std::min(limit, bytes);
}

void MemoryBudget::refuseBeyondLimit(size_t bytes, const char* what) const {
  if (bytes > limit) {
    fail(QKS_E_OUT_OF_MEMORY,
         std::string(what) + " needs " + mebibytes(bytes) + " of GPU memory; the limit is " + mebibytes(limit));
  }
}

void MemoryBudget::releaseIdle() {
  for (Kept* some : kept) {
    if (!some->inUse_) {
      some->release();
    }
  }
}

void DeviceBuffer::reserve(size_t bytes, const char* what) {
  if (bytes <= bytes_) {
    return;
  }
  release();
  MemoryBudget& budget = *budget_;
  if (budget.used + bytes > budget.limit) {
    budget.releaseIdle();
  }
  if (budget.used + bytes > budget.limit) {
    fail(QKS_E_OUT_OF_MEMORY, std::string(what) + " needs " + mebibytes(bytes) + " of GPU memory; " +
                                  mebibytes(budget.used) + " of " + mebibytes(budget.limit) + " are in use");
  }
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
  if (!data_) {
    return;
  }
  cudaFree(data_);
  data_ = nullptr;
  budget_->used -= bytes_;
  bytes_ = 0;
}

void PinnedBuffer::reserve(size_t bytes, size_t keep) {
  if (bytes <= bytes_) {
    return;
  }
  void* larger = nullptr;
  check(cudaHostAlloc(&larger, bytes, cudaHostAllocDefault), "page-locked memory of " + mebibytes(bytes));
  if (keep) {
    std::memcpy(larger, data_, keep);
  }
  cudaFreeHost(data_);
  data_ = larger;
  bytes_ = bytes;
}

}  // namespace qkspace
