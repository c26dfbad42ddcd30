#include "addon/constants.h"

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "abi.h"
#include "addon/errors.h"
#include "cpu/covariance/limits.h"

namespace qkspace::addon {
namespace {

using Entry = std::pair<const char*, double>;

Napi::Object table(Napi::Env env, std::initializer_list<Entry> entries) {
  Napi::Object result = Napi::Object::New(env);
  for (const Entry& entry : entries) {
    result.Set(entry.first, entry.second);
  }
  return result;
}

}  // namespace

Napi::Object constants(Napi::Env env) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("abiVersion", QKS_ABI_VERSION);
  result.Set("dtype", table(env, {{"f32", QKS_F32}, {"f16", QKS_F16}, {"bf16", QKS_BF16}, {"f64", QKS_F64}}));
  result.Set("estimator", table(env, {{"per-query", QKS_PER_QUERY}, {"per-pair", QKS_PER_PAIR}, {"sum", QKS_SUM}}));
  result.Set("keyScope", table(env, {{"before", QKS_BEFORE}, {"others", QKS_OTHERS}, {"all", QKS_ALL}}));
  result.Set("svdMode", table(env, {{"full", QKS_SVD_FULL}, {"energy", QKS_SVD_ENERGY}, {"rank", QKS_SVD_RANK}}));
  Napi::Object status = Napi::Object::New(env);
  for (int32_t code = QKS_E_ARGUMENT; code <= QKS_E_INTERNAL; code++) {
    status.Set(codeOf(code), code);
  }
  result.Set("status", status);
  result.Set("cpuMemory", table(env, {{"mostStaged", kMostStaged},
                                      {"mostSplit", kMostSplit},
                                      {"mostTasks", static_cast<double>(kMostTasks)}}));
  return result;
}

}  // namespace qkspace::addon
