#include "addon/errors.h"

#include "abi.h"

namespace qkspace::addon {

const char* codeOf(int32_t status) {
  switch (status) {
    case QKS_E_ARGUMENT:
      return "ERR_ARGUMENT";
    case QKS_E_SHAPE:
      return "ERR_SHAPE";
    case QKS_E_RANGE:
      return "ERR_RANGE";
    case QKS_E_EMPTY_SET:
      return "ERR_EMPTY_SET";
    case QKS_E_NON_FINITE:
      return "ERR_NON_FINITE";
    case QKS_E_ABORTED:
      return "ERR_ABORTED";
    case QKS_E_OUT_OF_MEMORY:
      return "ERR_OUT_OF_MEMORY";
    case QKS_E_BACKEND:
      return "ERR_BACKEND";
    default:
      return "ERR_INTERNAL";
  }
}

Napi::Error statusError(Napi::Env env, int32_t status, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, codeOf(status)));
  return error;
}

}  // namespace qkspace::addon
