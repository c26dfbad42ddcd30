#include "addon/objects/decomposition.h"

#include <string>
#include <utility>

#include "addon/arguments.h"
#include "addon/builtins.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "addon/objects/result_array.h"
#include "common/svd_request.h"

namespace qkspace::addon {
namespace {

// u, s and v of a decomposition, in arrays of the addon or of the caller.
struct Vectors {
  ResultArray u, s, v;

  qks_svd_vectors memory() const { return {u.data(), s.data(), v.data()}; }
  void setTo(Napi::Object result) const {
    result.Set("u", u.finish());
    result.Set("s", s.finish());
    result.Set("v", v.finish());
  }
};

// `out`: undefined, or { u, s, v }.
std::shared_ptr<Vectors> vectorsOf(Napi::Env env, Job& job, const Napi::Value& out, const Decomposition& d,
                                   int64_t width) {
  Napi::Value u = env.Undefined(), s = u, v = u;
  const std::string before = out.IsUndefined() ? "" : "out.";
  if (!out.IsUndefined()) {
    const Napi::Object given = object(out, "out");
    u = given.Get("u");
    s = given.Get("s");
    v = given.Get("v");
  }
  return std::make_shared<Vectors>(
      Vectors{ResultArray(env, job, u, d.outDtype, elements(env, {d.n, d.rows, width}, "u"), before + "u"),
              ResultArray(env, job, s, d.outDtype, elements(env, {d.n, width}, "s"), before + "s"),
              ResultArray(env, job, v, d.outDtype, elements(env, {d.n, d.cols, width}, "v"), before + "v")});
}

}  // namespace

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
  r.out_dtype = decomposition->outDtype = smallInteger(from.Get("outDtype"), "outDtype");
  const Napi::Value out = from.Get("out");
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
  const int32_t known = knownWidth(r);
  const std::shared_ptr<Vectors> vectors =
      known < 0 ? nullptr : vectorsOf(env, *job, out, *decomposition, r.n > 0 ? known : 0);
  job->run = [r, decomposition, vectors](const qks_cancel* cancel, qks_error* error) {
    const Context& context = *decomposition->context;
    const qks_svd_vectors memory = vectors ? vectors->memory() : qks_svd_vectors{};
    return context.backend->svd(context.handle, &r, cancel, &decomposition->summary, vectors ? &memory : nullptr,
                                &decomposition->handle, error);
  };
  job->result = [decomposition, vectors, ranks, totalEnergy, errorBound,
                 converged](Napi::Env resultEnv) -> Napi::Value {
    const Decomposition& d = *decomposition;
    const int64_t width = d.summary.max_rank;
    Napi::Object result = Napi::Object::New(resultEnv);
    if (vectors) {
      vectors->setTo(result);
    } else {
      const int64_t element = d.outDtype == QKS_F32 ? 4 : 8;
      result.Set("handle", newHandle(resultEnv, decomposition, d.n * width * (d.rows + d.cols + 1) * element));
    }
    result.Set("maxRank", d.summary.max_rank);
    result.Set("ranks", ranks.value());
    result.Set("totalEnergy", totalEnergy.value());
    result.Set("errorBound", errorBound.value());
    result.Set("converged", converged.value());
    return result;
  };
  return environmentOf(env).submit(*decomposition->context, std::move(job));
}

Napi::Value svdRead(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto decomposition = objectAt<Decomposition>(info[1]);
  const std::shared_ptr<Vectors> vectors =
      vectorsOf(env, *job, info[2], *decomposition, decomposition->summary.max_rank);
  handleAt<Decomposition>(info[1]).dispose(env);
  job->run = [decomposition, vectors](const qks_cancel*, qks_error* error) {
    const Context& context = *decomposition->context;
    const qks_svd_vectors memory = vectors->memory();
    return context.backend->svd_read(context.handle, decomposition->handle, &memory, error);
  };
  job->result = [vectors](Napi::Env resultEnv) -> Napi::Value {
    const Napi::Object result = Napi::Object::New(resultEnv);
    vectors->setTo(result);
    return result;
  };
  return environmentOf(env).submit(*decomposition->context, std::move(job));
}

}  // namespace qkspace::addon
