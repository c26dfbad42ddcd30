#include "addon/objects/result_array.h"

#include <cstring>
#include <utility>

#include "addon/arguments.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "common/pages.h"

namespace qkspace::addon {

ResultArray::ResultArray(Napi::Env env, Job& job, const Napi::Value& given, int32_t dtype, int64_t length,
                         const std::string& name)
    : name_(name),
      type_(dtype == QKS_F32 ? napi_float32_array : napi_float64_array),
      bytes_(static_cast<size_t>(length) * (dtype == QKS_F32 ? sizeof(float) : sizeof(double))) {
  if (given.IsUndefined()) {
    const Builtins& builtins = environmentOf(env).builtins;
    const Output made = dtype == QKS_F32 ? builtins.floats(length, name) : builtins.doubles(length, name);
    array_ = made.array;
    data_ = made.data;
    return;
  }
  const Array array = peek(given, type_, name);
  if (array.length < length) {
    throw statusError(env, QKS_E_SHAPE,
                      name + " has " + std::to_string(array.length) + " elements, needed are " +
                          std::to_string(length) + (array.length == 0 ? " (is its buffer detached?)" : ""));
  }
  array_ = std::make_shared<Napi::ObjectReference>(Napi::Persistent(given.As<Napi::Object>()));
  data_ = array.data;
  if (length == 0 || isShared(given)) {
    return;
  }
  Pages own(bytes_);
  if (!own.get()) {
    throw statusError(env, QKS_E_OUT_OF_MEMORY, "no memory for " + name);
  }
  data_ = own.get();
  copied_ = true;
  job.copiedBytes += static_cast<int64_t>(bytes_);
  job.copies.push_back(std::move(own));
}

Napi::Value ResultArray::finish() const {
  const Napi::Value value = array_->Value();
  if (copied_) {
    const Array array = peek(value, type_, name_);
    const size_t element = type_ == napi_float32_array ? sizeof(float) : sizeof(double);
    if (static_cast<size_t>(array.length) * element < bytes_) {
      throw statusError(
          value.Env(), QKS_E_SHAPE,
          "the buffer of " + name_ + " was detached (transferred) or made smaller before the results came");
    }
    std::memcpy(array.data, data_, bytes_);
  }
  return value;
}

}  // namespace qkspace::addon
