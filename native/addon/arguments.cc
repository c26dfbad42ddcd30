#include "addon/arguments.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "abi.h"
#include "addon/errors.h"
#include "common/pages.h"

namespace qkspace::addon {
namespace {

constexpr double kMostInteger = 9007199254740991.0;

size_t elementSize(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
      return 8;
    case napi_uint16_array:
      return 2;
    case napi_uint8_array:
      return 1;
    default:
      return 4;
  }
}

const char* typeName(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
      return "Float64Array";
    case napi_float32_array:
      return "Float32Array";
    case napi_uint16_array:
      return "Uint16Array";
    case napi_int32_array:
      return "Int32Array";
    case napi_uint32_array:
      return "Uint32Array";
    default:
      return "Uint8Array";
  }
}

struct Memory {
  Array array;
  bool shared = false;
};

// Where a typed array's elements are now. One that is detached, or whose buffer has been resized away beneath it, has
// none.
Memory memoryOf(const Napi::Value& value, napi_typedarray_type type, const std::string& name) {
  const Napi::Env env = value.Env();
  napi_typedarray_type actual;
  size_t length = 0;
  Memory memory;
  napi_value buffer = nullptr;
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(env, value, &actual, &length, &memory.array.data, &buffer, nullptr) != napi_ok ||
      actual != type) {
    throw Napi::TypeError::New(env, name + " must be a " + typeName(type));
  }
  memory.array.length = static_cast<int64_t>(length);
  if (length == 0) {
    memory.array.data = nullptr;
    return memory;
  }
  if (!memory.array.data || reinterpret_cast<uintptr_t>(memory.array.data) % elementSize(type) != 0) {
    throw Napi::TypeError::New(env, name + " is detached or misaligned");
  }
  bool isArrayBuffer = true;
  memory.shared = napi_is_arraybuffer(env, buffer, &isArrayBuffer) == napi_ok && !isArrayBuffer;
  return memory;
}

void hold(Job& job, const Napi::Value& value) { job.held.push_back(Napi::Persistent(value.As<Napi::Object>())); }

Array copyOf(Job& job, Napi::Env env, const Array& from, napi_typedarray_type type, const std::string& name) {
  if (from.length == 0) {
    return from;
  }
  const size_t bytes = static_cast<size_t>(from.length) * elementSize(type);
  Pages copy(bytes);
  if (!copy.get()) {
    throw statusError(env, QKS_E_OUT_OF_MEMORY, "no memory to copy " + name);
  }
  std::memcpy(copy.get(), from.data, bytes);
  Array array;
  array.data = copy.get();
  array.length = from.length;
  job.copiedBytes += static_cast<int64_t>(bytes);
  job.copies.push_back(std::move(copy));
  return array;
}

Array ofLength(Napi::Env env, const Array& array, int64_t length, const std::string& name) {
  if (array.length != length) {
    throw statusError(env, QKS_E_SHAPE,
                      name + " has " + std::to_string(array.length) + " elements, expected " + std::to_string(length) +
                          (array.length == 0 ? " (is its buffer detached?)" : ""));
  }
  return array;
}

}  // namespace

void checkCount(const Napi::CallbackInfo& info, size_t count) {
  if (info.Length() == count) {
    return;
  }
  throw Napi::TypeError::New(info.Env(),
                             "expected " + std::to_string(count) + " arguments, got " + std::to_string(info.Length()));
}

uint32_t jobId(const Napi::Value& value) {
  const int64_t id = integer(value, "job");
  if (id < 0 || id > UINT32_MAX) {
    throw Napi::TypeError::New(value.Env(), "job must be from 0 to 2^32 - 1");
  }
  return static_cast<uint32_t>(id);
}

std::shared_ptr<Job> newJob(const Napi::Value& id) {
  auto job = std::make_shared<Job>();
  job->id = jobId(id);
  return job;
}

Napi::Object object(const Napi::Value& value, const std::string& name) {
  if (!value.IsObject()) {
    throw Napi::TypeError::New(value.Env(), name + " must be an object");
  }
  return value.As<Napi::Object>();
}

std::string text(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) {
    throw Napi::TypeError::New(value.Env(), name + " must be a string");
  }
  const std::string found = value.As<Napi::String>();
  if (found.find('\0') != std::string::npos) {
    throw Napi::TypeError::New(value.Env(), name + " has a NUL character");
  }
  return found;
}

bool flag(const Napi::Value& value, const std::string& name) {
  if (!value.IsBoolean()) {
    throw Napi::TypeError::New(value.Env(), name + " must be true or false");
  }
  return value.As<Napi::Boolean>();
}

double number(const Napi::Value& value, const std::string& name) {
  if (!value.IsNumber()) {
    throw Napi::TypeError::New(value.Env(), name + " must be a number");
  }
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Value& value, const std::string& name) {
  const double x = number(value, name);
  if (!(x >= -kMostInteger && x <= kMostInteger) || x != std::floor(x)) {
    throw Napi::TypeError::New(value.Env(), name + " must be a safe integer");
  }
  return static_cast<int64_t>(x);
}

int32_t smallInteger(const Napi::Value& value, const std::string& name) {
  const int64_t x = integer(value, name);
  if (x < INT32_MIN || x > INT32_MAX) {
    throw Napi::TypeError::New(value.Env(), name + " must fit in 32 bits");
  }
  return static_cast<int32_t>(x);
}

int64_t elements(Napi::Env env, std::initializer_list<int64_t> shape, const std::string& name) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0) {
      throw statusError(env, QKS_E_SHAPE, name + " would have a negative size");
    }
    if (size != 0 && count > (int64_t{1} << 53) / size) {
      throw statusError(env, QKS_E_SHAPE, name + " would have more than 2^53 elements");
    }
    count *= size;
  }
  return count;
}

Array copied(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name) {
  const Memory memory = memoryOf(value, type, name);
  if (!memory.shared) {
    return copyOf(job, value.Env(), memory.array, type, name);
  }
  hold(job, value);
  return memory.array;
}

Array alwaysCopied(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name) {
  return copyOf(job, value.Env(), memoryOf(value, type, name).array, type, name);
}

Array inPlace(Job& job, const Napi::Value& value, napi_typedarray_type type, const std::string& name) {
  const Memory memory = memoryOf(value, type, name);
  hold(job, value);
  return memory.array;
}

Array peek(const Napi::Value& value, napi_typedarray_type type, const std::string& name) {
  return memoryOf(value, type, name).array;
}

bool isShared(const Napi::Value& typedArray) {
  return !typedArray.As<Napi::TypedArray>().ArrayBuffer().IsArrayBuffer();
}

const int32_t* ints(Job& job, const Napi::Value& value, int64_t length, const std::string& name) {
  const Array array = alwaysCopied(job, value, napi_int32_array, name);
  return ofLength(value.Env(), array, length, name).as<int32_t>();
}

const uint32_t* words(Job& job, const Napi::Value& value, int64_t length, const std::string& name) {
  const Array array = copied(job, value, napi_uint32_array, name);
  return ofLength(value.Env(), array, length, name).as<uint32_t>();
}

const float* floats(Job& job, const Napi::Value& value, int64_t length, const std::string& name) {
  const Array array = alwaysCopied(job, value, napi_float32_array, name);
  return ofLength(value.Env(), array, length, name).as<float>();
}

const double* doubles(Job& job, const Napi::Value& value, int64_t length, const std::string& name) {
  const Array array = copied(job, value, napi_float64_array, name);
  return ofLength(value.Env(), array, length, name).as<double>();
}

}  // namespace qkspace::addon
