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
  int32_t outDtype = QKS_F64;
  qks_svd_summary summary{};  // its largest rank is the width of the vectors
  qks_decomposition* handle = nullptr;

  Decomposition() = default;
  Decomposition(const Decomposition&) = delete;
  Decomposition& operator=(const Decomposition&) = delete;
  ~Decomposition() {
    if (handle) {
      context->destroy([backend = context->backend, gone = handle] { backend->svd_destroy(gone); });
    }
  }
};

// svd(job, context, { matrices, dtype, n, rows, cols, mode, energy, rank, maxRank, seed, threads, outDtype, out })
//   -> promise of { maxRank, ranks, totalEnergy, errorBound, converged }, with { u, s, v } in full and to a rank, with
//      { handle } by energy. out: undefined, or the arrays { u, s, v } to be filled (not read by energy).
Napi::Value svd(const Napi::CallbackInfo& info);

// svdRead(job, handle, out) -> promise of { u, s, v }; the handle is disposed of.
Napi::Value svdRead(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
