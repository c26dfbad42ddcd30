// The jobs of one context, and the thread that runs them in order. What is destroyed has its turn among them.
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
  // `tell` is called on the lane's thread after every job, with the job; it must not block.
  explicit Lane(std::function<void(Job*)> tell) : tell_(std::move(tell)) {}
  ~Lane() { join(); }

  void put(std::shared_ptr<Job> job);
  // Calls `object` in its turn, or at once when the lane has ended.
  void destroy(std::function<void()> object);
  // Drops the jobs that have not been started; what runs has been cancelled.
  void stop();
  void join();

 private:
  struct Turn {
    std::shared_ptr<Job> job;      // or null
    std::function<void()> object;  // destroys it, where there is no job
  };

  void put(Turn turn);
  void runAll();

  std::function<void(Job*)> tell_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Turn> queue_;
  bool stop_ = false;
};

}  // namespace qkspace::addon
