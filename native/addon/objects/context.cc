#include "addon/objects/context.h"

#include <memory>
#include <string>
#include <utility>

#include "addon/arguments.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "addon/registry.h"

namespace qkspace::addon {

Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = object(info[0], "options");
  const std::string name = text(from.Get("backend"), "backend"), library = text(from.Get("library"), "library"),
                    set = text(from.Get("instructionSet"), "instructionSet"),
                    device = text(from.Get("device"), "device");
  qks_options options{};
  options.threads = smallInteger(from.Get("threads"), "threads");
  options.instruction_set = set.c_str();
  options.device = device.c_str();
  const int64_t memory = integer(from.Get("deviceMemory"), "deviceMemory");
  if (memory < 0) {
    throw statusError(env, QKS_E_ARGUMENT, "deviceMemory must not be negative");
  }
  options.device_memory = static_cast<uint64_t>(memory);

  auto context = std::make_shared<Context>();
  std::string reason;
  context->backend = findBackend(name, library, reason);
  if (!context->backend) {
    throw statusError(env, QKS_E_BACKEND, reason);
  }
  qks_error error{};
  const int32_t status = context->backend->open(&options, &context->handle, &error);
  if (status != QKS_OK) {
    throw statusError(env, status, error.message);
  }
  environmentOf(env).keep(context);
  return newHandle(env, std::move(context), 0);
}

Napi::Value describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto context = objectAt<Context>(info[0]);
  qks_description d{};
  qks_error error{};
  const int32_t status = context->backend->describe(context->handle, &d, &error);
  if (status != QKS_OK) {
    throw statusError(env, status, error.message);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", d.name);
  result.Set("version", d.version);
  result.Set("instructionSet", d.instruction_set);
  result.Set("instructionSets", d.instruction_sets);
  result.Set("threads", d.threads);
  if (!d.device) {
    return result;
  }
  Napi::Object device = Napi::Object::New(env);
  device.Set("name", d.device);
  device.Set("uuid", d.device_uuid);
  device.Set("driver", d.driver_version);
  device.Set("runtime", d.runtime_version);
  device.Set("memory", static_cast<double>(d.memory_total));
  device.Set("memoryFree", static_cast<double>(d.memory_free));
  device.Set("memoryLimit", static_cast<double>(d.memory_limit));
  result.Set("device", device);
  return result;
}

Napi::Value timings(const Napi::CallbackInfo& info) {
  auto job = newJob(info[0]);
  const auto context = objectAt<Context>(info[1]);
  const auto out = std::make_shared<qks_timings>();
  job->run = [context, out](const qks_cancel*, qks_error* error) {
    return context->backend->timings(context->handle, out.get(), error);
  };
  job->result = [out](Napi::Env env) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result.Set("arithmeticMs", out->arithmetic_ms);
    result.Set("copyMs", out->copy_ms);
    result.Set("copyBytes", static_cast<double>(out->copy_bytes));
    return result;
  };
  return environmentOf(info.Env()).submit(*context, std::move(job));
}

}  // namespace qkspace::addon
