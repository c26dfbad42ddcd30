// Tensors: those of a call, and those that a backend keeps.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "abi.h"
#include "addon/objects/context.h"
#include "addon/queue/job.h"

namespace qkspace::addon {

// A tensor that a backend keeps where it computes.
struct Rows {
  static constexpr uint64_t kTag = 0x716b73726f773031;
  static constexpr const char* kName = "uploaded rows";

  std::shared_ptr<Context> context;
  qks_tensor shape{};  // dtype, shape and strides of what was uploaded
  qks_rows* rows = nullptr;

  Rows() = default;
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  ~Rows() {
    if (rows) {
      context->destroy([backend = context->backend, gone = rows] { backend->rows_destroy(gone); });
    }
  }
};

// A tensor argument whose properties have been read, but not its data.
struct TensorArgument {
  std::string name;
  qks_tensor tensor{};
  std::shared_ptr<Rows> resident;  // null where there is data
  Napi::Value data;
  bool transfer = false;
};

// { rows } or { data, dtype, shape, strides, transfer }. `context` is that of the call: rows that another one keeps
// cannot be read by it.
TensorArgument tensorArgument(const std::shared_ptr<Context>& context, const Napi::Value& value,
                              const std::string& name);

// The tensors, with their data. It is read where it lies if threads share it; with `transfer` the buffers are moved to
// the addon (detached for the caller) where they can be; all other data is copied. Two tensors may have one buffer.
// To be called when nothing else can be refused any more, so that a call that is refused takes nothing.
std::vector<qks_tensor> withData(Job& job, Napi::Env env, const std::vector<TensorArgument>& arguments);

// rowsUpload(job, context, tensor) -> promise of a handle
Napi::Value rowsUpload(const Napi::CallbackInfo& info);

// rowsRelease(handle): the memory goes when the jobs that read it have run.
Napi::Value rowsRelease(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
