// One environment's state: its backend contexts, and for each a lane with the jobs of the context.
//
// Every Node environment (the main thread, each worker thread) has contexts with threads of their own, so that ending
// one joins nothing of another. A lane has one thread, which takes jobs first in, first out; a job is parallel inside,
// over the context's pool. Lanes run beside each other: so do the devices of several contexts. Promises settle on the
// environment's thread, through a thread-safe function that keeps the event loop alive only while jobs wait. A clean-up
// hook cancels what is left and joins the threads before the environment is gone.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "addon/builtins.h"
#include "addon/queue/job.h"
#include "addon/queue/lane.h"

namespace qkspace::addon {

struct Context;

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();

  // Gives the context its lane. It is kept until shutDown, by which its jobs have ended.
  void keep(std::shared_ptr<Context> context);
  // Queues a job of the context.
  Napi::Promise submit(const Context& context, std::shared_ptr<Job> job);
  void cancel(uint32_t id);

  const Builtins builtins;

 private:
  static void onCleanup(void* self);
  static void onSettled(napi_env env, napi_value, void* self, void* job);
  void shutDown();
  void settle(Napi::Env env, Job* job);

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::unordered_map<Job*, std::shared_ptr<Job>> jobs_;  // environment's thread only
  std::vector<std::shared_ptr<Context>> contexts_;
  bool down_ = false;
};

Environment& environmentOf(Napi::Env env);

}  // namespace qkspace::addon
