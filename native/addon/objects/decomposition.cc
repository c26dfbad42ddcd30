#include "addon/objects/decomposition.h"

#include <string>
#include <utility>

#include "addon/arguments.h"
#include "addon/builtins.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "common/svd_request.h"

namespace qkspace::addon {

Napi::Value svd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto decomposition = std::make_shared<Decomposition>();
  decomposition->context = objectAt<Context>(info[1]);
  const Napi::Object from = object(info[2], "request");
  qks_svd_request r{};
  r.dtype = smallInteger(from.Get("dtype"), "dtype");
  r.n = decomposition->n = integer(from.Get("n"), "n");
  r.rows = decomposition->rows = integer(from.Get("rows"), "rows");
  r.cols = decomposition->cols = integer(from.Get("cols"), "cols");
  r.mode = smallInteger(from.Get("mode"), "mode");
  if (r.mode < QKS_SVD_FULL || r.mode > QKS_SVD_RANK) {
    throw statusError(env, QKS_E_ARGUMENT, "unknown mode");
  }
  r.energy = number(from.Get("energy"), "energy");
  r.rank = smallInteger(from.Get("rank"), "rank");
  r.max_rank = smallInteger(from.Get("maxRank"), "maxRank");
  if (r.max_rank < 0) {
    throw statusError(env, QKS_E_ARGUMENT, "maxRank must not be negative");
  }
  r.seed = static_cast<uint64_t>(integer(from.Get("seed"), "seed"));
  r.threads = smallInteger(from.Get("threads"), "threads");
  const Array matrices =
      copied(*job, from.Get("matrices"), r.dtype == QKS_F32 ? napi_float32_array : napi_float64_array, "matrices");
  r.matrices = matrices.data;
  r.length = matrices.length;
  checkSvdRequest(r);

  const Builtins& builtins = environmentOf(env).builtins;
  const Output ranks = builtins.ints(r.n, "ranks"), totalEnergy = builtins.doubles(r.n, "totalEnergy"),
               errorBound = builtins.doubles(r.n, "errorBound"), converged = builtins.bytes(r.n, "converged");
  qks_svd_summary& summary = decomposition->summary;
  summary.ranks = ranks.as<int32_t>();
  summary.total_energy = totalEnergy.as<double>();
  summary.error_bound = errorBound.as<double>();
  summary.converged = converged.as<uint8_t>();
  job->run = [r, decomposition](const qks_cancel* cancel, qks_error* error) {
    const Context& context = *decomposition->context;
    return context.backend->svd(context.handle, &r, cancel, &decomposition->summary, &decomposition->handle, error);
  };
  job->result = [decomposition, ranks, totalEnergy, errorBound, converged](Napi::Env resultEnv) -> Napi::Value {
    const Decomposition& d = *decomposition;
    const int64_t width = d.summary.max_rank;
    Napi::Object result = Napi::Object::New(resultEnv);
    result.Set("handle", newHandle(resultEnv, decomposition, d.n * width * (d.rows + d.cols + 1) * 8));
    result.Set("maxRank", d.summary.max_rank);
    result.Set("ranks", ranks.value());
    result.Set("totalEnergy", totalEnergy.value());
    result.Set("errorBound", errorBound.value());
    result.Set("converged", converged.value());
    return result;
  };
  return environmentOf(env).submit(std::move(job));
}

Napi::Value svdRead(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto decomposition = objectAt<Decomposition>(info[1]);
  const int64_t n = decomposition->n, width = decomposition->summary.max_rank;
  const Builtins& builtins = environmentOf(env).builtins;
  const Output u = builtins.doubles(elements(env, {n, decomposition->rows, width}, "u"), "u"),
               s = builtins.doubles(elements(env, {n, width}, "s"), "s"),
               v = builtins.doubles(elements(env, {n, decomposition->cols, width}, "v"), "v");
  handleAt<Decomposition>(info[1]).dispose(env);
  job->run = [decomposition, u, s, v](const qks_cancel*, qks_error* error) {
    const Context& context = *decomposition->context;
    return context.backend->svd_read(context.handle, decomposition->handle, u.as<double>(), s.as<double>(),
                                     v.as<double>(), error);
  };
  job->result = [u, s, v](Napi::Env resultEnv) -> Napi::Value {
    Napi::Object result = Napi::Object::New(resultEnv);
    result.Set("u", u.value());
    result.Set("s", s.value());
    result.Set("v", v.value());
    return result;
  };
  return environmentOf(env).submit(std::move(job));
}

}  // namespace qkspace::addon
