// Large memory that is written soon after it is taken, in pages as large as the system gives.
//
// The first touch of an ordinary page of fresh memory can cost more than filling it. So blocks start at 2 MiB
// and, on Linux, ask for huge pages where the system has them on request; elsewhere they are plain memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qkspace {

// Asks for huge pages where whole ones fit into memory that has not been touched yet.
inline void adviseLarge(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const uintptr_t at = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (at + kPage - 1) & ~(kPage - 1), end = (at + bytes) & ~(kPage - 1);
  if (first < end) {
    madvise(static_cast<char*>(data) + (first - at), end - first, MADV_HUGEPAGE);
  }
#else
  (void)data, (void)bytes;
#endif
}

class Pages {
 public:
  static constexpr size_t kSize = size_t{2} << 20;

  Pages() = default;
  // Zeroed where asked for. Check `get()`: null where there is no memory.
  explicit Pages(size_t bytes, bool zero = false) {
    const bool large = bytes >= kSize / 2;
    if (bytes > SIZE_MAX - 2 * kSize) {
      return;
    }
    if (large) {
      bytes = (bytes + kSize - 1) & ~(kSize - 1);
    }
    const size_t whole = bytes + (large ? kSize : 64);
    base_.reset(static_cast<char*>(zero ? std::calloc(whole, 1) : std::malloc(whole)));
    if (!base_) {
      return;
    }
    const uintptr_t step = large ? kSize : 64, at = reinterpret_cast<uintptr_t>(base_.get());
    data_ = base_.get() + (((at + step - 1) & ~(step - 1)) - at);
    if (large) {
      adviseLarge(data_, bytes);
    }
  }

  char* get() const { return data_; }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> base_;
  char* data_ = nullptr;
};

}  // namespace qkspace
