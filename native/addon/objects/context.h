// A backend that has been opened: open, describe, timings.
#pragma once

#include <napi.h>

#include <cstdint>

#include "abi.h"

namespace qkspace::addon {

// Shared by the environment and by what was made from it.
struct Context {
  static constexpr uint64_t kTag = 0x716b736374783031;
  static constexpr const char* kName = "a context";

  const qks_backend* backend = nullptr;
  qks_context* handle = nullptr;

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    if (handle) {
      backend->close(handle);
    }
  }
};

// open({ backend, library, instructionSet, threads, device, deviceMemory }) -> context
Napi::Value open(const Napi::CallbackInfo& info);

// describe(context) -> description
Napi::Value describe(const Napi::CallbackInfo& info);

// timings(job, context) -> promise of { arithmeticMs, copyMs, copyBytes }
Napi::Value timings(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
