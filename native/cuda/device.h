// A GPU in use: its properties, its streams, and memory that is kept from call to call.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"

namespace qkspace {

// A failed call of the runtime becomes a Failure that says what was being done.
inline void check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  const int32_t status = error == cudaErrorMemoryAllocation ? QKS_E_OUT_OF_MEMORY : QKS_E_BACKEND;
  fail(status, what + ": " + cudaGetErrorString(error));
}

class Kept;

// Bytes that all buffers of a device may take together.
struct MemoryBudget {
  size_t limit = 0, used = 0;
  std::vector<Kept*> kept;

  // What is free, and would be if nothing were kept that is not in use.
  size_t available() const;
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

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }
  // Waits for everything in the stream; errors of kernels that ran in it arrive here.
  void finish(const char* what) const { check(cudaStreamSynchronize(stream_), what); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  explicit Event(unsigned flags = cudaEventDisableTiming) {
    check(cudaEventCreateWithFlags(&event_, flags), "creating an event");
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// What is put into `later` from now on starts when all that is in `earlier` now has ended.
inline void follow(cudaStream_t later, cudaStream_t earlier, Event& between) {
  check(cudaEventRecord(between, earlier), "recording an event");
  check(cudaStreamWaitEvent(later, between, 0), "waiting for an event");
}

// Adds up what pieces of work in a stream take, by the device's clock.
class Stopwatch {
 public:
  // Times what is put into the stream while it lives.
  class Lap {
   public:
    Lap(Stopwatch& watch, cudaStream_t stream) : watch_(watch), stream_(stream) { watch.start(stream); }
    Lap(const Lap&) = delete;
    Lap& operator=(const Lap&) = delete;
    ~Lap() { watch_.stop(stream_); }

   private:
    Stopwatch& watch_;
    const cudaStream_t stream_;
  };

  // Milliseconds of all laps since the last call; waits for their ends.
  double take();

 private:
  struct Pair {
    Event start{cudaEventDefault}, stop{cudaEventDefault};
  };
  void start(cudaStream_t stream);
  void stop(cudaStream_t stream);
  void collect(size_t count);  // the first

  std::vector<std::unique_ptr<Pair>> pairs_;
  size_t used_ = 0;
  double milliseconds_ = 0;
};

// What a context has open. `stream` is for arithmetic, `copies` for transfers that run beside it.
struct Device {
  int index;
  cudaDeviceProp properties{};
  MemoryBudget budget;
  Stream stream, copies;
  // The plain kernels in place of the fast ones, to tell whose fault a wrong number is: QKSPACE_CUDA_PLAIN=1.
  bool plain;
  Stopwatch arithmetic, copying;
  uint64_t copiedBytes = 0;

  // `index` has been made the current device. `limit` 0: nine tenths of what is free now.
  Device(int index, size_t limit);
  // Makes the device current for the calling thread.
  void use() const { check(cudaSetDevice(index), "choosing the device"); }
};

}  // namespace qkspace
