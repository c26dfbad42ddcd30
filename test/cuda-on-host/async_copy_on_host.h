// What native/cuda/products/async_copy.cuh means.
#pragma once

#include "cuda_runtime.h"

namespace qkspace {

// Copies `size` bytes, those behind `bytes` zeros; only when waited for, so that a read before its wait finds NaN or
// what was there.
inline void copyAsyncOnHost(void* to, const void* from, uint32_t size, uint32_t bytes) {
  if ((size != 4 && size != 8 && size != 16) || bytes > size) {
    cuda_on_host::die("an asynchronous copy has an impossible size");
  }
  cuda_on_host::requireAligned(to, size, "the target of an asynchronous copy");
  cuda_on_host::requireAligned(from, size, "the source of an asynchronous copy");
  cuda_on_host::block().running->copies.back().push_back({to, from, size, bytes});
}
inline void commitCopiesOnHost() { cuda_on_host::block().running->copies.emplace_back(); }
inline void waitForCopiesOnHost(size_t left) {
  auto& groups = cuda_on_host::block().running->copies;
  while (groups.size() > left + 1) {
    for (const auto& copy : groups.front()) {
      if (copy.bytes) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      }
      std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, copy.size - copy.bytes);
      cuda_on_host::noteWritten(copy.to, copy.size);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace qkspace
