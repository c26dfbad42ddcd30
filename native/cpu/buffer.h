// Memory aligned to cache lines, freed with its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace qkspace {

class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { std::free(base_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // At least `bytes`; what was in it is lost when it grows. Zeroed pages on growth when `zero`.
  void reserve(size_t bytes, bool zero = false) {
    if (bytes <= bytes_) return;
    std::free(base_);
    base_ = nullptr;
    bytes_ = 0;
    if (bytes > SIZE_MAX - 64) throw std::bad_alloc();
    base_ = zero ? std::calloc(bytes + 64, 1) : std::malloc(bytes + 64);
    if (!base_) throw std::bad_alloc();
    bytes_ = bytes;
  }

  template <typename T = void>
  T* get() const {
    uintptr_t address = (reinterpret_cast<uintptr_t>(base_) + 63) & ~static_cast<uintptr_t>(63);
    return reinterpret_cast<T*>(address);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace qkspace
