// The jobs of one context, and the thread that runs them in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "addon/queue/job.h"

namespace qkspace::addon {

class Lane {
 public:
  // `ended` is called on the lane's thread after every job, with the job; it must not block.
  explicit Lane(std::function<void(Job*)> ended) : ended_(std::move(ended)) {}
  ~Lane() { join(); }

  void put(std::shared_ptr<Job> job);
  // Drops what has not been started; what runs has been cancelled.
  void stop();
  void join();

 private:
  void runAll();

  std::function<void(Job*)> ended_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::shared_ptr<Job>> queue_;
  bool stop_ = false;
};

}  // namespace qkspace::addon
