#include "addon/objects/covariance.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/builtins.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "addon/objects/batch.h"
#include "common/batch.h"

namespace qkspace::addon {
namespace {

// Counts and weights of each contrast are kept beside the sums; nobody has so many.
constexpr int32_t kMostContrasts = 1 << 20;

// Elements of the sums of q or of k, and of q k^T.
int64_t vectorElements(Napi::Env env, const qks_spec& spec, int64_t heads) {
  return elements(env, {spec.contrasts, heads, spec.head_dim}, "moments");
}
int64_t matrixElements(Napi::Env env, const qks_spec& spec, int64_t heads) {
  return elements(env, {spec.contrasts, heads, spec.head_dim, spec.head_dim}, "moments");
}

struct SideOutputs {
  Output weight, q, k, qk;
};

// The moments that a read fills, as JavaScript gets them.
struct MomentOutputs {
  Output terms, skipped;
  SideOutputs side[2];

  MomentOutputs(Napi::Env env, const qks_spec& spec, int64_t heads) {
    const Builtins& builtins = environmentOf(env).builtins;
    const int64_t vectors = vectorElements(env, spec, heads), matrices = matrixElements(env, spec, heads);
    terms = builtins.doubles(spec.contrasts, "terms");
    skipped = builtins.doubles(spec.contrasts, "skipped");
    for (SideOutputs& s : side) {
      s.weight = builtins.doubles(spec.contrasts, "weight");
      s.q = builtins.doubles(vectors, "q");
      s.k = builtins.doubles(vectors, "k");
      s.qk = builtins.doubles(matrices, "qk");
    }
  }

  qks_moments pointers() const {
    qks_moments m{};
    m.terms = terms.as<double>();
    m.skipped = skipped.as<double>();
    for (int s = 0; s < 2; s++) {
      m.side[s] = {side[s].weight.as<double>(), side[s].q.as<double>(), side[s].k.as<double>(),
                   side[s].qk.as<double>()};
    }
    return m;
  }

  Napi::Value value(Napi::Env env) const {
    Napi::Object result = Napi::Object::New(env);
    result.Set("terms", terms.value());
    result.Set("skipped", skipped.value());
    for (int s = 0; s < 2; s++) {
      Napi::Object one = Napi::Object::New(env);
      one.Set("weight", side[s].weight.value());
      one.Set("q", side[s].q.value());
      one.Set("k", side[s].k.value());
      one.Set("qk", side[s].qk.value());
      result.Set(s == 0 ? "positive" : "negative", one);
    }
    return result;
  }
};

// The ABI has one struct for moments that are read and for those that are written.
double* readOnly(const double* data) { return const_cast<double*>(data); }

qks_side sideArgument(Job& job, const Napi::Value& value, const qks_spec& spec, const std::string& name) {
  const Napi::Env env = value.Env();
  const Napi::Object from = object(value, name);
  const int64_t vectors = vectorElements(env, spec, spec.heads);
  qks_side side{};
  side.weight = readOnly(doubles(job, from.Get("weight"), spec.contrasts, name + ".weight"));
  side.q = readOnly(doubles(job, from.Get("q"), vectors, name + ".q"));
  side.k = readOnly(doubles(job, from.Get("k"), vectors, name + ".k"));
  side.qk = readOnly(doubles(job, from.Get("qk"), matrixElements(env, spec, spec.heads), name + ".qk"));
  return side;
}

}  // namespace

Napi::Value covarianceCreate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto covariance = std::make_shared<Covariance>();
  covariance->context = objectAt<Context>(info[0]);
  const Napi::Object from = object(info[1], "spec");
  qks_spec& spec = covariance->spec;
  spec.heads = smallInteger(from.Get("heads"), "heads");
  spec.kv_heads = smallInteger(from.Get("kvHeads"), "kvHeads");
  spec.head_dim = smallInteger(from.Get("headDim"), "headDim");
  spec.contrasts = smallInteger(from.Get("contrasts"), "contrasts");
  spec.estimator = smallInteger(from.Get("estimator"), "estimator");
  spec.allow_non_finite = flag(from.Get("allowNonFinite"), "allowNonFinite") ? 1 : 0;
  spec.threads = smallInteger(from.Get("threads"), "threads");
  checkSpec(spec);
  if (spec.contrasts > kMostContrasts) {
    throw statusError(env, QKS_E_ARGUMENT, "contrasts is above 2^20");
  }
  const int64_t doubles = elements(env, {2, matrixElements(env, spec, spec.heads)}, "moments") +
                          elements(env, {4, vectorElements(env, spec, spec.heads)}, "moments");
  const int64_t bytes = elements(env, {doubles, sizeof(double)}, "moments");

  const Context& context = *covariance->context;
  qks_error error{};
  const int32_t status = context.backend->covariance_create(context.handle, &spec, &covariance->handle, &error);
  if (status != QKS_OK) {
    throw statusError(env, status, error.message);
  }
  return newHandle(env, covariance, bytes);
}

Napi::Value covarianceAdd(const Napi::CallbackInfo& info) {
  auto job = newJob(info[0]);
  const auto covariance = objectAt<Covariance>(info[1]);
  const auto argument = batchArgument(*job, covariance->context, info[2]);
  job->run = [covariance, argument](const qks_cancel* cancel, qks_error* error) {
    return covariance->context->backend->covariance_add(covariance->handle, &argument->batch, cancel, error);
  };
  return environmentOf(info.Env()).submit(*covariance->context, std::move(job));
}

Napi::Value covarianceAddParts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // Holds the memory of the batch, for as long as any of its parts.
  const auto memory = newJob(info[0]);
  if (!info[1].IsArray()) {
    throw Napi::TypeError::New(env, "parts must be an array");
  }
  const Napi::Array list = info[1].As<Napi::Array>();
  std::vector<std::shared_ptr<Covariance>> covariances;
  std::vector<PartHeads> heads;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::HandleScope scope(env);
    const Napi::Object part = object(list.Get(i), "part");
    const auto covariance = objectAt<Covariance>(part.Get("handle"));
    const bool isOther = std::all_of(covariances.begin(), covariances.end(),
                                     [&](const auto& known) { return known->context != covariance->context; });
    if (!isOther) {
      // Its jobs would wait for each other.
      throw statusError(env, QKS_E_ARGUMENT, "two parts of a batch have one context");
    }
    covariances.push_back(covariance);
    heads.push_back({covariance->context, integer(part.Get("firstHead"), "firstHead"), covariance->spec.heads,
                     integer(part.Get("firstKeyHead"), "firstKeyHead"), covariance->spec.kv_heads});
  }
  if (covariances.empty()) {
    throw statusError(env, QKS_E_ARGUMENT, "a batch has no parts");
  }
  const auto batches = batchParts(*memory, heads, info[2]);
  const auto vote = std::make_shared<Vote>(static_cast<int>(covariances.size()));
  std::vector<std::shared_ptr<Job>> jobs;
  for (size_t i = 0; i < covariances.size(); i++) {
    const auto job = std::make_shared<Job>();
    job->id = memory->id;
    job->vote = vote;
    job->kept.push_back(memory);
    job->copiedBytes = i == 0 ? memory->copiedBytes : 0;
    job->run = [covariance = covariances[i], batch = batches[i]](const qks_cancel* cancel, qks_error* error) {
      return covariance->context->backend->covariance_add(covariance->handle, &batch->batch, cancel, error);
    };
    jobs.push_back(job);
  }
  Napi::Array promises = Napi::Array::New(env, jobs.size());
  try {
    for (uint32_t i = 0; i < jobs.size(); i++) {
      promises.Set(i, environmentOf(env).submit(*covariances[i]->context, jobs[i]));
    }
  } catch (...) {
    // The parts that were queued would wait for the others.
    vote->refuse();
    throw;
  }
  return promises;
}

Napi::Value covarianceMerge(const Napi::CallbackInfo& info) {
  auto job = newJob(info[0]);
  const auto covariance = objectAt<Covariance>(info[1]);
  const qks_spec& spec = covariance->spec;
  const Napi::Object from = object(info[2], "moments");
  qks_moments moments{};
  moments.terms = readOnly(doubles(*job, from.Get("terms"), spec.contrasts, "terms"));
  moments.skipped = readOnly(doubles(*job, from.Get("skipped"), spec.contrasts, "skipped"));
  moments.side[0] = sideArgument(*job, from.Get("positive"), spec, "positive");
  moments.side[1] = sideArgument(*job, from.Get("negative"), spec, "negative");
  job->run = [covariance, moments](const qks_cancel*, qks_error* error) {
    return covariance->context->backend->covariance_merge(covariance->handle, &moments, error);
  };
  return environmentOf(info.Env()).submit(*covariance->context, std::move(job));
}

Napi::Value covarianceRead(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto covariance = objectAt<Covariance>(info[1]);
  const Array heads = alwaysCopied(*job, info[2], napi_int32_array, "heads");
  if (heads.length > INT32_MAX) {
    throw statusError(env, QKS_E_SHAPE, "heads has more than 2^31 - 1 elements");
  }
  const int32_t count = static_cast<int32_t>(heads.length);
  checkHeads(heads.as<int32_t>(), count, covariance->spec.heads);
  const auto outputs = std::make_shared<MomentOutputs>(env, covariance->spec, count);
  const qks_moments pointers = outputs->pointers();
  job->run = [covariance, heads, count, pointers](const qks_cancel*, qks_error* error) {
    return covariance->context->backend->covariance_read(covariance->handle, heads.as<int32_t>(), count, &pointers,
                                                         error);
  };
  job->result = [outputs](Napi::Env resultEnv) { return outputs->value(resultEnv); };
  return environmentOf(env).submit(*covariance->context, std::move(job));
}

Napi::Value covarianceDispose(const Napi::CallbackInfo& info) {
  handleAt<Covariance>(info[0]).dispose(info.Env());
  return info.Env().Undefined();
}

}  // namespace qkspace::addon
