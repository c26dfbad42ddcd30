// Device memory and page-locked memory that is kept from call to call, within a limit for the whole device.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace qkspace {

class Kept;

// Bytes that all buffers of a device may take together.
struct MemoryBudget {
  size_t limit = 0, used = 0;
  std::vector<Kept*> kept;

  // What is free, and would be if nothing were kept that is not in use.
  size_t available() const;
  // Fails with QKS_E_OUT_OF_MEMORY where `bytes` exceeds the limit, whatever is in use. Any thread may call it: the limit
  // never changes.
  void refuseBeyondLimit(size_t bytes, const char* what) const;
  void releaseIdle();
};

// Memory that calls of a kind use in turn and that stays for the next one. Between them it goes as soon as anything
// else does not fit beside it.
class Kept {
 public:
  explicit Kept(MemoryBudget& budget) : budget_(budget) { budget.kept.push_back(this); }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  virtual size_t bytes() const = 0;
  virtual void release() = 0;

  // A call that uses it. Nothing reads or writes it when it ends.
  class Use {
   public:
    explicit Use(Kept& kept) : kept_(kept) { kept_.inUse_ = true; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { kept_.inUse_ = false; }

   private:
    Kept& kept_;
  };

 protected:
  ~Kept() { budget_.kept.erase(std::find(budget_.kept.begin(), budget_.kept.end(), this)); }

 private:
  friend struct MemoryBudget;
  MemoryBudget& budget_;
  bool inUse_ = false;
};

// Device memory that grows. Contents are lost when it does.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(MemoryBudget& budget) : budget_(&budget) {}
  DeviceBuffer(DeviceBuffer&& from) noexcept : budget_(from.budget_), data_(from.data_), bytes_(from.bytes_) {
    from.data_ = nullptr;
    from.bytes_ = 0;
  }
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  ~DeviceBuffer() { release(); }

  // What is kept and not in use goes where it has to. Failure: QKS_E_OUT_OF_MEMORY, with what was asked for, what is
  // in use, and the limit.
  void reserve(size_t bytes, const char* what);
  void release();
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* get() const {
    return static_cast<T*>(data_);
  }

 private:
  MemoryBudget* budget_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Page-locked host memory, from and to which copies run beside arithmetic.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer() { cudaFreeHost(data_); }

  // The first `keep` bytes stay what they are. Nothing may be on its way from or to the memory.
  void reserve(size_t bytes, size_t keep = 0);
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* get() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace qkspace
