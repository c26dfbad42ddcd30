// Memory that is handed out front to back and freed as a whole: for many small results of unknown size.
#pragma once

#include <new>
#include <vector>

#include "common/pages.h"

namespace qkspace {

class Arena {
 public:
  double* take(size_t doubles) {
    const size_t bytes = (doubles * sizeof(double) + 63) & ~static_cast<size_t>(63);
    if (bytes > left_) {
      add(bytes > Pages::kSize ? bytes : Pages::kSize);
    }
    char* given = next_;
    next_ += bytes;
    left_ -= bytes;
    return reinterpret_cast<double*>(given);
  }

 private:
  void add(size_t bytes) {
    Pages block(bytes);
    if (!block.get()) {
      throw std::bad_alloc();
    }
    next_ = block.get();
    left_ = bytes;
    blocks_.push_back(std::move(block));
  }

  std::vector<Pages> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace qkspace
