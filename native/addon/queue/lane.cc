#include "addon/queue/lane.h"

#include <algorithm>
#include <utility>

namespace qkspace::addon {
namespace {

int32_t pollCancelled(const void* job) { return static_cast<const Job*>(job)->cancel.load(); }

int32_t agreeToAdd(const void* user) {
  const Job& job = *static_cast<const Job*>(user);
  job.voted = true;
  return job.vote->agree() ? 0 : 1;
}

void run(Job& job) {
  if (job.cancel) {
    job.status = QKS_E_ABORTED;
    job.error = qks_error{QKS_E_ABORTED, "the operation was aborted"};
  } else {
    const qks_cancel cancel{&job, pollCancelled, job.vote ? agreeToAdd : nullptr};
    job.status = job.run(&cancel, &job.error);
  }
  if (!job.vote) {
    return;
  }
  if (job.status != QKS_OK) {
    job.vote->refuse();
  } else if (!job.voted) {
    // A backend that does not ask has added its part already.
    job.vote->agree();
  }
}

}  // namespace

void Lane::put(std::shared_ptr<Job> job) {
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { runAll(); });
  }
  put(Turn{std::move(job), nullptr});
}

void Lane::destroy(std::function<void()> object) {
  if (thread_.joinable()) {
    put(Turn{nullptr, std::move(object)});
  } else {
    // Nothing has run yet, or nothing runs any more.
    object();
  }
}

void Lane::put(Turn turn) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(turn));
  }
  ready_.notify_one();
}

void Lane::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    queue_.erase(std::remove_if(queue_.begin(), queue_.end(), [](const Turn& turn) { return turn.job != nullptr; }),
                 queue_.end());
  }
  ready_.notify_all();
}

void Lane::join() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Lane::runAll() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) {
      return;
    }
    Turn turn = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (turn.job) {
      run(*turn.job);
    } else {
      turn.object();
    }
    // The environment keeps it; the last reference must go on the environment's thread, which owns what it holds.
    Job* done = turn.job.get();
    turn.job.reset();
    lock.lock();
    if (done && !stop_) {
      tell_(done);
    }
  }
}

}  // namespace qkspace::addon
