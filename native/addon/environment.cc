#include "addon/environment.h"

#include "addon/errors.h"
#include "addon/objects/context.h"

namespace qkspace::addon {
namespace {

void cancelJob(Job& job) {
  job.cancel = 1;
  if (job.vote) {
    job.vote->refuse();
  }
}

}  // namespace

Environment::Environment(Napi::Env env) : builtins(env), env_(env) {
  Napi::String name = Napi::String::New(env, "qkspace");
  napi_status made =
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, onSettled, &wake_);
  if (made != napi_ok) {
    throw Napi::Error::New(env, "cannot create the thread-safe function");
  }
  napi_unref_threadsafe_function(env, wake_);
  // After the function above: hooks run last in, first out, and the threads must end before it does.
  napi_add_env_cleanup_hook(env, onCleanup, this);
}

Environment::~Environment() {
  if (down_) {
    return;
  }
  napi_remove_env_cleanup_hook(env_, onCleanup, this);
  shutDown();
}

void Environment::onCleanup(void* self) { static_cast<Environment*>(self)->shutDown(); }

void Environment::shutDown() {
  if (down_) {
    return;
  }
  down_ = true;
  for (auto& entry : jobs_) {
    cancelJob(*entry.first);
  }
  for (const auto& context : contexts_) {
    context->lane->stop();
  }
  for (const auto& context : contexts_) {
    context->lane->join();
  }
  jobs_.clear();
  contexts_.clear();
}

void Environment::keep(std::shared_ptr<Context> context) {
  context->lane = std::make_unique<Lane>([this](Job* job) {
    // Non-blocking on an unbounded queue: fails only when the environment is closing.
    napi_call_threadsafe_function(wake_, job, napi_tsfn_nonblocking);
  });
  contexts_.push_back(std::move(context));
}

Napi::Promise Environment::submit(const Context& context, std::shared_ptr<Job> job) {
  job->deferred = std::make_unique<Napi::Promise::Deferred>(env_);
  Napi::Promise promise = job->deferred->Promise();
  if (down_) {
    job->deferred->Reject(statusError(env_, QKS_E_BACKEND, "the environment is shutting down").Value());
    return promise;
  }
  if (jobs_.empty()) {
    napi_ref_threadsafe_function(env_, wake_);
  }
  jobs_.emplace(job.get(), job);
  if (job->copiedBytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, job->copiedBytes);
  }
  context.lane->put(std::move(job));
  return promise;
}

void Environment::cancel(uint32_t id) {
  for (auto& entry : jobs_) {
    if (entry.first->id == id) {
      cancelJob(*entry.first);
    }
  }
}

void Environment::onSettled(napi_env env, napi_value, void* self, void* job) {
  if (env == nullptr) {
    return;  // torn down: the jobs went with the environment
  }
  static_cast<Environment*>(self)->settle(Napi::Env(env), static_cast<Job*>(job));
}

void Environment::settle(Napi::Env env, Job* pointer) {
  auto found = jobs_.find(pointer);
  if (found == jobs_.end()) {
    return;
  }
  std::shared_ptr<Job> job = found->second;
  jobs_.erase(found);
  if (jobs_.empty()) {
    napi_unref_threadsafe_function(env, wake_);
  }
  if (job->copiedBytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env, -job->copiedBytes);
  }
  Napi::HandleScope scope(env);
  try {
    if (job->status == QKS_OK) {
      job->deferred->Resolve(job->result ? job->result(env) : env.Undefined());
    } else {
      job->deferred->Reject(statusError(env, job->status, job->error.message).Value());
    }
  } catch (const Napi::Error& error) {
    // Raised while the environment ends (no JavaScript may run any more), or by a failed allocation.
    if (!env.IsExceptionPending()) {
      try {
        job->deferred->Reject(error.Value());
      } catch (const Napi::Error&) {  // NOLINT(bugprone-empty-catch): nobody is left to be told.
      }
    }
  }
}

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

}  // namespace qkspace::addon
