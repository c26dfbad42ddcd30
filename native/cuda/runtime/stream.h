// Streams and events of the CUDA runtime that end with their scope.
#pragma once

#include <cuda_runtime.h>

#include "cuda/runtime/check.h"

namespace qkspace {

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

}  // namespace qkspace
