// One queued call of a backend, with the memory that it reads and writes.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "abi.h"
#include "addon/queue/vote.h"
#include "common/pages.h"

namespace qkspace::addon {

// Built, settled and destroyed on the environment's thread; run on that of its lane.
struct Job {
  uint32_t id = 0;
  std::atomic<int32_t> cancel{0};
  std::function<int32_t(const qks_cancel*, qks_error*)> run;
  std::function<Napi::Value(Napi::Env)> result;  // optional
  // Of a batch that other jobs add parts of; null elsewhere.
  std::shared_ptr<Vote> vote;
  mutable bool voted = false;
  int32_t status = QKS_OK;
  qks_error error{};

  // References keep JavaScript's memory that is read in place, copies are the job's own, and objects of a backend are
  // kept as long as the job.
  std::vector<Napi::ObjectReference> held;
  std::vector<Pages> copies;
  std::vector<std::shared_ptr<void>> kept;
  int64_t copiedBytes = 0;
  std::unique_ptr<Napi::Promise::Deferred> deferred;
};

}  // namespace qkspace::addon
