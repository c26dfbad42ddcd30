// Accumulated covariances: create, add, add in parts, merge, read, dispose.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "abi.h"
#include "addon/objects/context.h"

namespace qkspace::addon {

struct Covariance {
  static constexpr uint64_t kTag = 0x716b73636f763031;
  static constexpr const char* kName = "a covariance";

  std::shared_ptr<Context> context;
  qks_spec spec{};
  qks_covariance* handle = nullptr;

  Covariance() = default;
  Covariance(const Covariance&) = delete;
  Covariance& operator=(const Covariance&) = delete;
  ~Covariance() {
    if (handle) {
      context->destroy([backend = context->backend, gone = handle] { backend->covariance_destroy(gone); });
    }
  }
};

// covarianceCreate(context, { heads, kvHeads, headDim, contrasts, estimator, allowNonFinite, threads }) -> handle
Napi::Value covarianceCreate(const Napi::CallbackInfo& info);

// covarianceAdd(job, handle, { q, k, terms, labels }) -> promise
Napi::Value covarianceAdd(const Napi::CallbackInfo& info);

// covarianceAddParts(job, [{ handle, firstHead, firstKeyHead }, ...], { q, k, terms, labels }) -> array of promises.
// Each covariance adds its heads of the batch, all of them or none; their contexts differ. q and k are whole tensors, or
// arrays of { rows }, one for each part.
Napi::Value covarianceAddParts(const Napi::CallbackInfo& info);

// covarianceMerge(job, handle, moments) -> promise; the moments are those of all heads and contrasts.
Napi::Value covarianceMerge(const Napi::CallbackInfo& info);

// covarianceRead(job, handle, heads) -> promise of the moments of these heads
Napi::Value covarianceRead(const Napi::CallbackInfo& info);

// covarianceDispose(handle): the memory goes when the jobs that are still queued have run.
Napi::Value covarianceDispose(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
