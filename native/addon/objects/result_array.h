// An array that a job fills: the addon's own, or one of the caller.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

#include "abi.h"
#include "addon/builtins.h"
#include "addon/queue/job.h"

namespace qkspace::addon {

// Memory that is shared between threads is filled where it lies, as nobody can take it away. A buffer of any other kind
// could be detached or resized while threads write to it: they write to memory of the job, which is copied at the end,
// on the environment's thread.
class ResultArray {
 public:
  // Of `dtype`, QKS_F32 or QKS_F64. `given`: undefined, or a typed array of that type of at least `length` elements.
  ResultArray(Napi::Env env, Job& job, const Napi::Value& given, int32_t dtype, int64_t length,
              const std::string& name);

  // Where `length` elements are to be written.
  void* data() const { return data_; }
  // The array, filled. Throws where its buffer has been detached or resized away meanwhile.
  Napi::Value finish() const;

 private:
  std::string name_;
  napi_typedarray_type type_;
  size_t bytes_;
  std::shared_ptr<Napi::ObjectReference> array_;
  void* data_ = nullptr;
  bool copied_ = false;
};

}  // namespace qkspace::addon
