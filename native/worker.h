// One environment's state: its backend context, its queue of jobs, and the thread that runs them in order.
//
// Every Node environment (the main thread, each worker thread) has a context with threads of its own, so
// that ending one joins nothing of another. One dispatcher thread takes jobs first in, first out; a job is
// parallel inside, over the context's pool. Promises settle on the environment's thread, through a
// thread-safe function that keeps the event loop alive only while jobs wait. A clean-up hook cancels what
// is left and joins the threads before the environment is gone.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "abi.h"
#include "common/pages.h"

namespace qkspace {

// A backend context, shared by the environment and by what was made from it.
struct Context {
  const qks_backend* backend = nullptr;
  qks_context* handle = nullptr;
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    if (handle) backend->close(handle);
  }
};

// One queued call. Built and settled on the environment's thread, run on the dispatcher.
struct Job {
  uint32_t id = 0;
  std::atomic<int32_t> cancel{0};
  std::function<int32_t(const qks_cancel*, qks_error*)> run;
  std::function<Napi::Value(Napi::Env)> result;  // optional
  int32_t status = QKS_OK;
  qks_error error{};

  // What it reads or writes: references keep JavaScript's memory, copies are the job's own,
  // and what a backend keeps is kept as long as the job.
  std::vector<Napi::Reference<Napi::Value>> held;
  std::vector<Pages> copies;
  std::vector<std::shared_ptr<void>> kept;
  int64_t copiedBytes = 0;
  std::unique_ptr<Napi::Promise::Deferred> deferred;
};

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();

  Napi::Promise submit(std::shared_ptr<Job> job);
  void cancel(uint32_t id);

  // Every context that was opened; by shutDown their jobs have ended.
  std::vector<std::shared_ptr<Context>> contexts;

 private:
  static void onCleanup(void* self);
  static void onSettled(napi_env env, napi_value, void* self, void* job);
  void shutDown();
  void dispatch();
  void settle(Napi::Env env, Job* job);

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::unordered_map<Job*, std::shared_ptr<Job>> jobs_;  // environment's thread only

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::shared_ptr<Job>> queue_;
  bool stop_ = false;
  bool down_ = false;
};

// An Error with the stable code of a status.
Napi::Error statusError(Napi::Env env, int32_t status, const char* message);

}  // namespace qkspace
