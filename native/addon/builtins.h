// Functions of JavaScript that the addon calls, as they were when it was loaded.
//
// Output arrays are made by JavaScript's constructors rather than by N-API, which ends the process where memory runs
// out. structuredClone moves a buffer out of the caller's reach, so that its memory can be read in place by threads:
// N-API itself cannot keep a buffer from being detached.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace qkspace::addon {

// An array that only the addon holds until the job that fills it has ended.
struct Output {
  std::shared_ptr<Napi::ObjectReference> array;
  void* data = nullptr;

  Napi::Value value() const { return array->Value(); }
  template <typename Element>
  Element* as() const {
    return static_cast<Element*>(data);
  }
};

class Builtins {
 public:
  explicit Builtins(Napi::Env env);

  // Zeroed, of `length` elements: an Error (ERR_OUT_OF_MEMORY) where there is no memory for it.
  Output doubles(int64_t length, const std::string& name) const;
  Output floats(int64_t length, const std::string& name) const;
  Output ints(int64_t length, const std::string& name) const;
  Output bytes(int64_t length, const std::string& name) const;

  // The same arrays over buffers that nobody else has: the given ones are detached. Empty, with nothing detached, where
  // one of the buffers cannot be moved.
  std::vector<Napi::Value> moved(Napi::Env env, const std::vector<Napi::Value>& arrays) const;

 private:
  Output make(const Napi::FunctionReference& constructor, napi_typedarray_type type, int64_t length,
              const std::string& name) const;

  Napi::FunctionReference float64Array_, float32Array_, int32Array_, uint8Array_, structuredClone_;
};

}  // namespace qkspace::addon
