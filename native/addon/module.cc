// The addon's surface, as lib/backend/addon-types.ts has it. Arithmetic is reached only through the table of abi.h.
#include <napi.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "abi.h"
#include "addon/arguments.h"
#include "addon/constants.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/objects/context.h"
#include "addon/objects/covariance.h"
#include "addon/objects/decomposition.h"
#include "addon/objects/flips.h"
#include "addon/objects/rows.h"
#include "common/status.h"

namespace qkspace::addon {
namespace {

// cancel(job)
Napi::Value cancel(const Napi::CallbackInfo& info) {
  environmentOf(info.Env()).cancel(jobId(info[0]));
  return info.Env().Undefined();
}

// setEnvironmentVariable(name, value): of the process. A worker thread's process.env is a copy, which libraries do not see.
Napi::Value setEnvironmentVariable(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsString()) {
    throw Napi::TypeError::New(env, "the name and the value of an environment variable must be strings");
  }
  const std::string name = info[0].As<Napi::String>(), value = info[1].As<Napi::String>();
#if defined(_WIN32)
  const bool failed = _putenv_s(name.c_str(), value.c_str()) != 0;
#else
  const bool failed = setenv(name.c_str(), value.c_str(), 1) != 0;
#endif
  if (failed) {
    throw statusError(env, QKS_E_ARGUMENT, "the environment variable cannot be set");
  }
  return env.Undefined();
}

using Function = Napi::Value (*)(const Napi::CallbackInfo&);

// A function of so many arguments. Exceptions other than JavaScript's own (what the checks of native/common refuse, no
// memory, a thread that cannot start) become JavaScript errors.
template <Function kBody, size_t kArguments>
Napi::Value checked(const Napi::CallbackInfo& info) {
  checkCount(info, kArguments);
  try {
    return kBody(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const Failure& failure) {
    throw statusError(info.Env(), failure.status, failure.message);
  } catch (const std::bad_alloc&) {
    throw statusError(info.Env(), QKS_E_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& exception) {
    throw statusError(info.Env(), QKS_E_INTERNAL, exception.what());
  }
}

template <Function kBody, size_t kArguments>
void add(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New<checked<kBody, kArguments>>(exports.Env(), name));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  exports.Set("constants", constants(env));
  add<open, 1>(exports, "open");
  add<describe, 1>(exports, "describe");
  add<timings, 2>(exports, "timings");
  add<rowsUpload, 3>(exports, "rowsUpload");
  add<rowsRelease, 1>(exports, "rowsRelease");
  add<covarianceCreate, 2>(exports, "covarianceCreate");
  add<covarianceAdd, 3>(exports, "covarianceAdd");
  add<covarianceAddParts, 3>(exports, "covarianceAddParts");
  add<covarianceMerge, 3>(exports, "covarianceMerge");
  add<covarianceRead, 3>(exports, "covarianceRead");
  add<covarianceDispose, 1>(exports, "covarianceDispose");
  add<svd, 3>(exports, "svd");
  add<svdRead, 3>(exports, "svdRead");
  add<largestOfFlips, 3>(exports, "largestOfFlips");
  add<cancel, 1>(exports, "cancel");
  add<setEnvironmentVariable, 2>(exports, "setEnvironmentVariable");
  return exports;
}

}  // namespace
}  // namespace qkspace::addon

static Napi::Object initQkspace(Napi::Env env, Napi::Object exports) { return qkspace::addon::init(env, exports); }

NODE_API_MODULE(qkspace, initQkspace)
