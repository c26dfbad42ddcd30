#include "cuda/runtime/stopwatch.h"

#include <algorithm>
#include <utility>

#include "cuda/runtime/check.h"

namespace qkspace {
namespace {

// Laps whose events are kept before they are added up.
constexpr size_t kMostLaps = 256;

}  // namespace

void Stopwatch::start(cudaStream_t stream) {
  // The older half: the newer one may still be running.
  if (used_ == kMostLaps) {
    collect(kMostLaps / 2);
  }
  if (used_ == pairs_.size()) {
    pairs_.push_back(std::make_unique<Pair>());
  }
  check(cudaEventRecord(pairs_[used_]->start, stream), "recording an event");
}

// In a destructor: a failure shows at the next call that waits for the stream.
void Stopwatch::stop(cudaStream_t stream) {
  if (cudaEventRecord(pairs_[used_]->stop, stream) == cudaSuccess) {
    used_++;
  }
}

void Stopwatch::collect(size_t count) {
  for (size_t i = 0; i < count; i++) {
    float lap = 0;
    check(cudaEventSynchronize(pairs_[i]->stop), "waiting for an event");
    check(cudaEventElapsedTime(&lap, pairs_[i]->start, pairs_[i]->stop), "reading a time");
    milliseconds_ += lap;
  }
  std::rotate(pairs_.begin(), pairs_.begin() + static_cast<std::ptrdiff_t>(count), pairs_.end());
  used_ -= count;
}

double Stopwatch::take() {
  collect(used_);
  return std::exchange(milliseconds_, 0);
}

}  // namespace qkspace
