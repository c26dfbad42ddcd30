// Whether a batch that several contexts add a part of is added: by all of them or by none.
#pragma once

#include <condition_variable>
#include <mutex>

namespace qkspace::addon {

class Vote {
 public:
  explicit Vote(int jobs) : missing_(jobs) {}

  // For a job that could add its part now. Waits until all could, or one could not; whether all could. Each job has a
  // thread of its own, and all threads get the jobs of two votes in the same order, so that none waits for ever.
  bool agree() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (state_ == kOpen && --missing_ == 0) {
      state_ = kAgreed;
      decided_.notify_all();
    }
    decided_.wait(lock, [this] { return state_ != kOpen; });
    return state_ == kAgreed;
  }

  // For a job that cannot add its part, or will not run. Nothing happens once all have agreed.
  void refuse() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (state_ == kOpen) {
      state_ = kRefused;
      decided_.notify_all();
    }
  }

 private:
  enum State { kOpen, kAgreed, kRefused } state_ = kOpen;
  int missing_;
  std::mutex mutex_;
  std::condition_variable decided_;
};

}  // namespace qkspace::addon
