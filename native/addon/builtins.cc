#include "addon/builtins.h"

#include "abi.h"
#include "addon/errors.h"
#include "common/pages.h"

namespace qkspace::addon {
namespace {

Napi::FunctionReference persistent(Napi::Env env, const char* name) {
  const Napi::Value value = env.Global().Get(name);
  if (!value.IsFunction()) {
    throw Napi::Error::New(env, std::string("there is no ") + name);
  }
  return Napi::Persistent(value.As<Napi::Function>());
}

// Empty where there is none: some test environments make a global object without it.
Napi::FunctionReference persistentIfThere(Napi::Env env, const char* name) {
  const Napi::Value value = env.Global().Get(name);
  return value.IsFunction() ? Napi::Persistent(value.As<Napi::Function>()) : Napi::FunctionReference();
}

bool includes(const std::vector<Napi::Value>& values, const Napi::Value& wanted) {
  for (const Napi::Value& value : values) {
    if (value.StrictEquals(wanted)) {
      return true;
    }
  }
  return false;
}

}  // namespace

Builtins::Builtins(Napi::Env env)
    : float64Array_(persistent(env, "Float64Array")),
      float32Array_(persistent(env, "Float32Array")),
      int32Array_(persistent(env, "Int32Array")),
      uint8Array_(persistent(env, "Uint8Array")),
      structuredClone_(persistentIfThere(env, "structuredClone")) {}

Output Builtins::make(const Napi::FunctionReference& constructor, napi_typedarray_type type, int64_t length,
                      const std::string& name) const {
  const Napi::Env env = constructor.Env();
  Napi::Value made;
  try {
    made = constructor.New({Napi::Number::New(env, static_cast<double>(length))});
  } catch (const Napi::Error&) {
    throw statusError(env, QKS_E_OUT_OF_MEMORY, "no memory for " + name + ": " + std::to_string(length) + " elements");
  }
  napi_typedarray_type actual;
  size_t actualLength = 0;
  Output output;
  if (!made.IsTypedArray() ||
      napi_get_typedarray_info(env, made, &actual, &actualLength, &output.data, nullptr, nullptr) != napi_ok ||
      actual != type || actualLength != static_cast<size_t>(length)) {
    throw statusError(env, QKS_E_INTERNAL, "a typed array's constructor made something else");
  }
  output.array = std::make_shared<Napi::ObjectReference>(Napi::Persistent(made.As<Napi::Object>()));
  return output;
}

Output Builtins::doubles(int64_t length, const std::string& name) const {
  Output output = make(float64Array_, napi_float64_array, length, name);
  adviseLarge(output.data, static_cast<size_t>(length) * sizeof(double));
  return output;
}

Output Builtins::floats(int64_t length, const std::string& name) const {
  Output output = make(float32Array_, napi_float32_array, length, name);
  adviseLarge(output.data, static_cast<size_t>(length) * sizeof(float));
  return output;
}

Output Builtins::ints(int64_t length, const std::string& name) const {
  return make(int32Array_, napi_int32_array, length, name);
}

Output Builtins::bytes(int64_t length, const std::string& name) const {
  return make(uint8Array_, napi_uint8_array, length, name);
}

std::vector<Napi::Value> Builtins::moved(Napi::Env env, const std::vector<Napi::Value>& arrays) const {
  if (structuredClone_.IsEmpty()) {
    return {};
  }
  const Napi::Array list = Napi::Array::New(env, arrays.size()), buffers = Napi::Array::New(env);
  std::vector<Napi::Value> known;
  for (uint32_t i = 0; i < arrays.size(); i++) {
    list.Set(i, arrays[i]);
    const Napi::Value buffer = arrays[i].As<Napi::TypedArray>().ArrayBuffer();
    if (includes(known, buffer)) {
      continue;
    }
    buffers.Set(static_cast<uint32_t>(known.size()), buffer);
    known.push_back(buffer);
  }
  Napi::Object options = Napi::Object::New(env);
  options.Set("transfer", buffers);
  std::vector<Napi::Value> result;
  try {
    const Napi::Object clones = structuredClone_.Call({list, options}).As<Napi::Object>();
    for (uint32_t i = 0; i < arrays.size(); i++) {
      result.push_back(clones.Get(i));
    }
  } catch (const Napi::Error&) {
    // Such as the buffer that Node's small Buffers share, which does not move.
    result.clear();
  }
  return result;
}

}  // namespace qkspace::addon
