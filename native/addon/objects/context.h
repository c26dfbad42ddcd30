// A backend that has been opened: open, describe, timings.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "abi.h"
#include "addon/queue/lane.h"

namespace qkspace::addon {

// Shared by the environment and by what was made from it.
struct Context {
  static constexpr uint64_t kTag = 0x716b736374783031;
  static constexpr const char* kName = "a context";

  const qks_backend* backend = nullptr;
  qks_context* handle = nullptr;
  std::unique_ptr<Lane> lane;  // from its environment

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    lane.reset();
    if (handle) {
      backend->close(handle);
    }
  }

  // Destroys what was made from the context, after the jobs that are queued: a device may wait until it is idle to free
  // memory, and JavaScript's thread must not.
  void destroy(std::function<void()> object) const { lane->destroy(std::move(object)); }
};

// open({ backend, library, instructionSet, threads, device, deviceMemory }) -> context
Napi::Value open(const Napi::CallbackInfo& info);

// describe(context) -> description
Napi::Value describe(const Napi::CallbackInfo& info);

// timings(job, context) -> promise of { arithmeticMs, copyMs, copyBytes }
Napi::Value timings(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
