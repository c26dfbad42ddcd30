// Decompositions of many matrices: svd, svdRead.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "abi.h"
#include "addon/objects/context.h"

namespace qkspace::addon {

struct Decomposition {
  static constexpr uint64_t kTag = 0x716b737376643031;
  static constexpr const char* kName = "a decomposition";

  std::shared_ptr<Context> context;
  int64_t n = 0, rows = 0, cols = 0;
  qks_svd_summary summary{};  // its largest rank is the width of the vectors
  qks_decomposition* handle = nullptr;

  Decomposition() = default;
  Decomposition(const Decomposition&) = delete;
  Decomposition& operator=(const Decomposition&) = delete;
  ~Decomposition() {
    if (handle) {
      context->backend->svd_destroy(handle);
    }
  }
};

// svd(job, context, { matrices, dtype, n, rows, cols, mode, energy, rank, maxRank, seed, threads })
//   -> promise of { handle, maxRank, ranks, totalEnergy, errorBound, converged }
Napi::Value svd(const Napi::CallbackInfo& info);

// svdRead(job, handle) -> promise of { u, s, v }; the handle is disposed of.
Napi::Value svdRead(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
