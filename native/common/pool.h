// A fixed set of threads that share the indices of a loop. One loop at a time; the caller works too.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace qkspace {

class Pool {
 public:
  // `threads` includes the calling one; 0 = one per processor. Threads start with the first loop.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls task(index, worker) once for every index in [0, count), worker in [0, used(limit, count)).
  // Tasks must not throw. Which worker gets which index is not fixed.
  void run(int limit, int64_t count, const std::function<void(int64_t, int)>& task);
  int used(int limit, int64_t count) const;

 private:
  void start();
  void loop(int worker);

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  uint64_t round_ = 0;
  int active_ = 0;   // workers that take part in this round
  int running_ = 0;  // and have not finished it
  bool stop_ = false;
  std::atomic<int64_t> next_{0};
  int64_t count_ = 0;
  const std::function<void(int64_t, int)>* task_ = nullptr;
};

}  // namespace qkspace
