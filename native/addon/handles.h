// Objects of a backend as JavaScript holds them: opaque objects that carry a pointer and, beside it, a tag.
//
// The tag is checked before the pointer is looked at, so an object of JavaScript, of another addon or of another kind
// is refused, whatever it is. Not Externals: Node reads a tag from the memory of an External, also from one that
// Node-API did not make.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "abi.h"
#include "addon/errors.h"

namespace qkspace::addon {

// An address that no other library of this process has, not even a second copy of this one.
inline const char kThisLibrary = 0;

// `Object` has `kTag`, a number of its own among the handles, and `kName`, what messages call it.
template <typename Object>
napi_type_tag tagOf() {
  return {Object::kTag, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&kThisLibrary))};
}

// Empty once it has been disposed of.
template <typename Object>
struct Handle {
  std::shared_ptr<Object> object;
  int64_t bytes;  // of memory outside JavaScript's heap, as it has been told to the garbage collector

  void dispose(Napi::Env env) {
    object.reset();
    if (bytes) {
      Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
    }
    bytes = 0;
  }
};

template <typename Object>
void finalizeHandle(napi_env env, void* data, void*) {
  std::unique_ptr<Handle<Object>> handle(static_cast<Handle<Object>*>(data));
  handle->dispose(Napi::Env(env));
}

template <typename Object>
Napi::Value newHandle(Napi::Env env, std::shared_ptr<Object> object, int64_t bytes) {
  auto handle = std::make_unique<Handle<Object>>(Handle<Object>{std::move(object), bytes});
  Napi::Object value = Napi::Object::New(env);
  const napi_type_tag tag = tagOf<Object>();
  value.TypeTag(&tag);
  const napi_status status = napi_wrap(env, value, handle.get(), finalizeHandle<Object>, nullptr, nullptr);
  if (status != napi_ok) {
    throw statusError(env, QKS_E_INTERNAL, "cannot make a handle");
  }
  handle.release();
  if (bytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  }
  return value;
}

// Throws a TypeError for anything but a handle of this kind.
template <typename Object>
Handle<Object>& handleAt(const Napi::Value& value) {
  const napi_type_tag tag = tagOf<Object>();
  void* data = nullptr;
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag) ||
      napi_unwrap(value.Env(), value, &data) != napi_ok || !data) {
    throw Napi::TypeError::New(value.Env(), std::string("expected the handle of ") + Object::kName);
  }
  return *static_cast<Handle<Object>*>(data);
}

// What the handle stands for; throws where it has been disposed of.
template <typename Object>
std::shared_ptr<Object> objectAt(const Napi::Value& value) {
  const std::shared_ptr<Object> object = handleAt<Object>(value).object;
  if (!object) {
    throw statusError(value.Env(), QKS_E_ARGUMENT, std::string(Object::kName) + " has been disposed of");
  }
  return object;
}

}  // namespace qkspace::addon
