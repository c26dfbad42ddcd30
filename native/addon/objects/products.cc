#include "addon/objects/products.h"

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

Napi::Value largestOfProducts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto context = objectAt<Context>(info[1]);
  if (!context->backend->largest_of_products) {
    throw statusError(env, QKS_E_BACKEND, "this backend makes no products of its own");
  }
  const Napi::Object from = object(info[2], "request");
  const TensorArgument q = tensorArgument(context, from.Get("q"), "q"), k = tensorArgument(context, from.Get("k"), "k");
  if (!q.resident || !k.resident) {
    throw statusError(env, QKS_E_ARGUMENT, "q and k must have been uploaded");
  }
  job->kept.push_back(q.resident);
  job->kept.push_back(k.resident);
  const Napi::Value query = from.Get("query"), key = from.Get("key"), coefficients = from.Get("coefficients"),
                    u = from.Get("u"), v = from.Get("v");
  const auto r = std::make_shared<qks_products_request>();
  r->q = q.tensor;
  r->k = k.tensor;
  r->products = peek(query, napi_int32_array, "query").length;
  r->draws = integer(from.Get("draws"), "draws");
  r->rank = smallInteger(from.Get("rank"), "rank");
  r->seed = static_cast<uint64_t>(integer(from.Get("seed"), "seed"));
  const int64_t heads = r->q.shape[2], d = r->q.shape[3];
  if (r->products < 1) {
    throw statusError(env, QKS_E_ARGUMENT, "there are no products");
  }
  if (r->draws < 1 || r->draws > 65535) {
    throw statusError(env, QKS_E_ARGUMENT, "draws must be from 1 to 65535");
  }
  if (r->rank < 0 || r->rank > d) {
    throw statusError(env, QKS_E_ARGUMENT, "rank must be from 0 to the head dimension");
  }
  r->query = ints(*job, query, r->products, "query");
  r->key = ints(*job, key, r->products, "key");
  r->coefficients =
      floats(*job, coefficients, elements(env, {r->draws, r->products}, "coefficients"), "coefficients");
  if (r->rank > 0) {
    const int64_t basis = elements(env, {heads, d, r->rank}, "u and v");
    r->u = doubles(*job, u, basis, "u");
    r->v = doubles(*job, v, basis, "v");
  }
  const Output out = environmentOf(env).builtins.doubles(elements(env, {heads, r->draws}, "values"), "values");
  job->run = [context, r, out](const qks_cancel* cancel, qks_error* error) {
    return context->backend->largest_of_products(context->handle, r.get(), cancel, out.as<double>(), error);
  };
  job->result = [out](Napi::Env) { return out.value(); };
  return environmentOf(env).submit(std::move(job));
}

}  // namespace qkspace::addon
