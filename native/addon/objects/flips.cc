#include "addon/objects/flips.h"

#include <memory>
#include <utility>

#include "abi.h"
#include "addon/arguments.h"
#include "addon/builtins.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "addon/objects/context.h"
#include "addon/objects/rows.h"

namespace qkspace::addon {

Napi::Value largestOfFlips(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto context = objectAt<Context>(info[1]);
  const Napi::Object from = object(info[2], "request");
  const TensorArgument q = tensorArgument(context, from.Get("q"), "q"), k = tensorArgument(context, from.Get("k"), "k");
  if (!q.resident || !k.resident) {
    throw statusError(env, QKS_E_ARGUMENT, "q and k must have been uploaded");
  }
  job->kept.push_back(q.resident);
  job->kept.push_back(k.resident);
  const Napi::Value heads = from.Get("heads"), coefficients = from.Get("coefficients"), units = from.Get("units"),
                    flips = from.Get("flips"), u = from.Get("u"), v = from.Get("v");
  const auto r = std::make_shared<qks_flips_request>();
  r->q = q.tensor;
  r->k = k.tensor;
  r->units = integer(from.Get("unitCount"), "unitCount");
  r->draws = integer(from.Get("draws"), "draws");
  r->rank = smallInteger(from.Get("rank"), "rank");
  r->components = smallInteger(from.Get("components"), "components");
  r->threads = smallInteger(from.Get("threads"), "threads");
  r->head_count = peek(heads, napi_int32_array, "heads").length;
  r->rows = peek(coefficients, napi_float32_array, "coefficients").length;
  const int64_t d = r->q.shape[3];
  if (r->draws < 1 || r->draws > 65535) {
    throw statusError(env, QKS_E_ARGUMENT, "draws must be from 1 to 65535");
  }
  if (r->units < 1 || r->units > r->rows) {
    throw statusError(env, QKS_E_ARGUMENT, "unitCount must be from 1 to the number of rows");
  }
  if (r->rank < 0 || r->rank > d) {
    throw statusError(env, QKS_E_ARGUMENT, "rank must be from 0 to the head dimension");
  }
  if (r->components < 1 || r->components > r->rank + 1) {
    throw statusError(env, QKS_E_ARGUMENT, "components must be from 1 to one more than the rank");
  }
  r->heads = ints(*job, heads, r->head_count, "heads");
  r->coefficients = floats(*job, coefficients, r->rows, "coefficients");
  r->unit = ints(*job, units, r->rows, "units");
  r->flips = words(*job, flips, elements(env, {r->units, (r->draws + 31) / 32}, "flips"), "flips");
  if (r->rank > 0) {
    const int64_t basis = elements(env, {r->head_count, d, r->rank}, "u and v");
    r->u = doubles(*job, u, basis, "u");
    r->v = doubles(*job, v, basis, "v");
  }
  const Output out =
      environmentOf(env).builtins.doubles(elements(env, {r->head_count, r->draws, r->components}, "values"), "values");
  job->run = [context, r, out](const qks_cancel* cancel, qks_error* error) {
    return context->backend->largest_of_flips(context->handle, r.get(), cancel, out.as<double>(), error);
  };
  job->result = [out](Napi::Env) { return out.value(); };
  return environmentOf(env).submit(*context, std::move(job));
}

}  // namespace qkspace::addon
