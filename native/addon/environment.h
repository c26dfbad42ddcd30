// One environment's state: its backend contexts, its queue of jobs, and the thread that runs them in order.
//
// Every Node environment (the main thread, each worker thread) has contexts with threads of their own, so that ending
// one joins nothing of another. One dispatcher thread takes jobs first in, first out; a job is parallel inside, over
// the context's pool. Promises settle on the environment's thread, through a thread-safe function that keeps the event
// loop alive only while jobs wait. A clean-up hook cancels what is left and joins the threads before the environment is
// gone.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "addon/builtins.h"
#include "addon/job.h"

namespace qkspace::addon {

struct Context;

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();

  Napi::Promise submit(std::shared_ptr<Job> job);
  void cancel(uint32_t id);

  // Every context that was opened; by shutDown their jobs have ended.
  std::vector<std::shared_ptr<Context>> contexts;

  const Builtins builtins;

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

Environment& environmentOf(Napi::Env env);

}  // namespace qkspace::addon
