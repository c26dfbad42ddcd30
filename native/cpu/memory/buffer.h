// Memory aligned to cache lines, freed with its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "common/pages.h"

namespace qkspace {

class Buffer {
 public:
  // At least `bytes`; what was in it is lost when it grows. Zeroed on growth when `zero`.
  void reserve(size_t bytes, bool zero = false) {
    if (bytes <= bytes_) {
      return;
    }
    release();
    pages_ = Pages(bytes, zero);
    if (!pages_.get()) {
      throw std::bad_alloc();
    }
    bytes_ = bytes;
  }

  void release() {
    pages_ = Pages();
    bytes_ = 0;
  }

  template <typename T = void>
  T* get() const {
    return reinterpret_cast<T*>(pages_.get());
  }
  size_t bytes() const { return bytes_; }

 private:
  Pages pages_;
  size_t bytes_ = 0;
};

}  // namespace qkspace
