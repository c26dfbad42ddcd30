// What native/cuda/products/async_copy.cuh means.
#pragma once

#include "cuda_runtime.h"

namespace qkspace {

// Copied only when waited for, so that a read before its wait finds NaN or what was there.
inline void copyAsyncOnHost(void* to, const void* from, uint32_t bytes) {
  cuda_on_host::block().running->copies.back().push_back({to, from, bytes});
}
inline void commitCopiesOnHost() { cuda_on_host::block().running->copies.emplace_back(); }
inline void waitForCopiesOnHost(size_t left) {
  auto& groups = cuda_on_host::block().running->copies;
  while (groups.size() > left + 1) {
    for (const auto& copy : groups.front()) {
      if (copy.bytes) std::memcpy(copy.to, copy.from, copy.bytes);
      std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, 16 - copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace qkspace
