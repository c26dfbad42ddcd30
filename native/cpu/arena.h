// Memory that is handed out front to back and freed as a whole: for many small results of unknown size.
//
// Blocks are 2 MiB and aligned to it, and ask for huge pages where the system has them on request: results are
// written once and read once, and the first touch of an ordinary page costs as much as filling it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qkspace {

class Arena {
 public:
  double* take(size_t doubles) {
    const size_t bytes = (doubles * sizeof(double) + 63) & ~static_cast<size_t>(63);
    if (bytes > left_) add(bytes > kBlock ? bytes : kBlock);
    char* given = next_;
    next_ += bytes;
    left_ -= bytes;
    return reinterpret_cast<double*>(given);
  }

 private:
  static constexpr size_t kBlock = size_t{2} << 20;

  void add(size_t bytes) {
    std::unique_ptr<char, decltype(&std::free)> block(static_cast<char*>(std::malloc(bytes + kBlock)), &std::free);
    if (!block) throw std::bad_alloc();
    const uintptr_t first = (reinterpret_cast<uintptr_t>(block.get()) + kBlock - 1) & ~(kBlock - 1);
    next_ = reinterpret_cast<char*>(first);
    left_ = bytes;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    madvise(next_, bytes, MADV_HUGEPAGE);
#endif
    blocks_.push_back(std::move(block));
  }

  std::vector<std::unique_ptr<char, decltype(&std::free)>> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace qkspace
