// Reading and checking arguments. Whatever cannot be used is refused with a TypeError, or an Error with a code.
//
// A property of an argument may be a getter that runs code, so each is read once, and memory is looked at only after
// the last one has been read, or copied at once.
#pragma once

#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "addon/queue/job.h"

namespace qkspace::addon {

// Refuses calls with fewer or more arguments.
void checkCount(const Napi::CallbackInfo& info, size_t count);

// A job with the number that the caller gave it.
std::shared_ptr<Job> newJob(const Napi::Value& id);

// The id of a job, from 0 to 2^32 - 1.
uint32_t jobId(const Napi::Value& value);

Napi::Object object(const Napi::Value& value, const std::string& name);
std::string text(const Napi::Value& value, const std::string& name);
bool flag(const Napi::Value& value, const std::string& name);
double number(const Napi::Value& value, const std::string& name);
int64_t integer(const Napi::Value& value, const std::string& name);
int32_t smallInteger(const Napi::Value& value, const std::string& name);

// The number of elements of an array of this shape, of sizes that are not negative; refused above 2^53.
int64_t elements(Napi::Env env, std::initializer_list<int64_t> shape, const std::string& name);

struct Array {
  void* data = nullptr;
  int64_t length = 0;

  template <typename Element>
  const Element* as() const {
    return static_cast<const Element*>(data);
  }
};

// The elements of a typed array of exactly this type. Memory that is shared between threads is read where it lies, as
// nobody can take it away; all other is copied into the job.
Array copied(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name);

// Copied also where it is shared: for numbers that are checked first and used later.
Array alwaysCopied(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name);

// Read where it lies, whoever has it: for arrays that nobody but the addon can reach.
Array inPlace(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name);

// Where its elements are now: to be checked, not to be kept.
Array peek(const Napi::Value& value, napi_typedarray_type type, const std::string& name);

bool isShared(const Napi::Value& typedArray);

// Arrays of indices and weights of a given length, copied.
const int32_t* ints(Job& job, const Napi::Value& value, int64_t length, const std::string& name);
const uint32_t* words(Job& job, const Napi::Value& value, int64_t length, const std::string& name);
const float* floats(Job& job, const Napi::Value& value, int64_t length, const std::string& name);
const double* doubles(Job& job, const Napi::Value& value, int64_t length, const std::string& name);

}  // namespace qkspace::addon
