// How long work in a stream takes, by the device's clock.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "cuda/runtime/stream.h"

namespace qkspace {

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

}  // namespace qkspace
