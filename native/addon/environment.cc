#include "addon/environment.h"

#include "addon/errors.h"
#include "addon/objects/context.h"

namespace qkspace::addon {
namespace {

int32_t pollFlag(const void* flag) { return static_cast<const std::atomic<int32_t>*>(flag)->load(); }

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
    entry.first->cancel = 1;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  ready_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
  jobs_.clear();
  contexts.clear();
}

Napi::Promise Environment::submit(std::shared_ptr<Job> job) {
  job->deferred = std::make_unique<Napi::Promise::Deferred>(env_);
  Napi::Promise promise = job->deferred->Promise();
  if (down_) {
    job->deferred->Reject(statusError(env_, QKS_E_BACKEND, "the environment is shutting down").Value());
    return promise;
  }
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { dispatch(); });
  }
  if (jobs_.empty()) {
    napi_ref_threadsafe_function(env_, wake_);
  }
  jobs_.emplace(job.get(), job);
  if (job->copiedBytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, job->copiedBytes);
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(job));
  }
  ready_.notify_one();
  return promise;
}

void Environment::cancel(uint32_t id) {
  for (auto& entry : jobs_) {
    if (entry.first->id == id) {
      entry.first->cancel = 1;
    }
  }
}

void Environment::dispatch() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) {
      return;
    }
    std::shared_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const qks_cancel cancel{&job->cancel, pollFlag};
    if (job->cancel) {
      job->status = QKS_E_ABORTED;
      job->error = qks_error{QKS_E_ABORTED, "the operation was aborted"};
    } else {
      job->status = job->run(&cancel, &job->error);
    }
    // jobs_ keeps it; the last reference must go on the environment's thread, which owns what it holds.
    Job* done = job.get();
    job.reset();
    lock.lock();
    if (stop_) {
      return;
    }
    // Non-blocking on an unbounded queue: fails only when the environment is closing.
    napi_call_threadsafe_function(wake_, done, napi_tsfn_nonblocking);
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
