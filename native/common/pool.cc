#include "common/pool.h"

#include <algorithm>

namespace qkspace {

Pool::Pool(int threads)
    : threads_(threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) {
    worker.join();
  }
}

int Pool::used(int limit, int64_t count) const {
  int most = limit > 0 ? std::min(limit, threads_) : threads_;
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(most, count)));
}

void Pool::start() {
  workers_.reserve(static_cast<size_t>(threads_ - 1));
  while (static_cast<int>(workers_.size()) < threads_ - 1) {
    int worker = static_cast<int>(workers_.size()) + 1;
    workers_.emplace_back([this, worker] { loop(worker); });
  }
}

void Pool::run(int limit, int64_t count, const std::function<void(int64_t, int)>& task) {
  int used = this->used(limit, count);
  if (used <= 1) {
    for (int64_t i = 0; i < count; i++) {
      task(i, 0);
    }
    return;
  }
  start();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    next_ = 0;
    count_ = count;
    task_ = &task;
    active_ = used - 1;
    running_ = used - 1;
    round_++;
  }
  wake_.notify_all();
  for (int64_t i; (i = next_.fetch_add(1)) < count;) {
    task(i, 0);
  }
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return running_ == 0; });
  task_ = nullptr;
}

void Pool::loop(int worker) {
  uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || (round_ != seen && task_ != nullptr && worker <= active_); });
    if (stop_) {
      return;
    }
    seen = round_;
    const auto* task = task_;
    int64_t count = count_;
    lock.unlock();
    for (int64_t i; (i = next_.fetch_add(1)) < count;) {
      (*task)(i, worker);
    }
    lock.lock();
    if (--running_ == 0) {
      idle_.notify_one();
    }
  }
}

}  // namespace qkspace
