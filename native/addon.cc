// The addon's functions: read and check arguments, build a job, hand it to the environment's queue.
// Arithmetic is reached only through the table of abi.h.
#include <cmath>
#include <cstring>

#include "cpu/backend.h"
#include "worker.h"

namespace qkspace {
namespace {

struct CovarianceHandle {
  std::shared_ptr<Context> context;
  qks_covariance* covariance = nullptr;
  ~CovarianceHandle() {
    if (covariance) context->backend->covariance_destroy(covariance);
  }
};

struct DecompositionHandle {
  std::shared_ptr<Context> context;
  qks_decomposition* result = nullptr;
  ~DecompositionHandle() {
    if (result) context->backend->svd_destroy(result);
  }
};

// What an External carries. The magic number tells the kinds apart.
template <typename Handle>
struct Box {
  uint64_t magic;
  std::shared_ptr<Handle> handle;
  int64_t bytes;
};
constexpr uint64_t kCovariance = 0x716b73636f763031, kDecomposition = 0x716b737376643031;

template <typename Handle>
Napi::Value wrap(Napi::Env env, uint64_t magic, std::shared_ptr<Handle> handle, int64_t bytes) {
  auto* box = new Box<Handle>{magic, std::move(handle), bytes};
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  return Napi::External<Box<Handle>>::New(env, box, [](Napi::Env finalEnv, Box<Handle>* dead) {
    if (dead->bytes) Napi::MemoryManagement::AdjustExternalMemory(finalEnv, -dead->bytes);
    dead->magic = 0;
    delete dead;
  });
}

template <typename Handle>
Box<Handle>* unwrap(Napi::Env env, const Napi::Value& value, uint64_t magic) {
  if (!value.IsExternal()) throw Napi::TypeError::New(env, "expected a handle of this addon");
  auto* box = value.As<Napi::External<Box<Handle>>>().Data();
  if (!box || box->magic != magic) throw Napi::TypeError::New(env, "expected another kind of handle");
  return box;
}

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

std::shared_ptr<Context> contextOf(Napi::Env env) {
  auto context = environmentOf(env).context;
  if (!context) throw statusError(env, QKS_E_BACKEND, "open() has not been called");
  return context;
}

// ---- reading arguments ----

Napi::Object objectAt(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be an object");
  return value.As<Napi::Object>();
}

int64_t integer(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a number");
  const double x = value.As<Napi::Number>().DoubleValue();
  if (!(x >= -9007199254740992.0 && x <= 9007199254740992.0) || x != std::floor(x))
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a safe integer");
  return static_cast<int64_t>(x);
}

int32_t small(const Napi::Value& value, const char* name) {
  const int64_t x = integer(value, name);
  if (x < INT32_MIN || x > INT32_MAX)
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must fit in 32 bits");
  return static_cast<int32_t>(x);
}

struct Array {
  void* data = nullptr;
  int64_t length = 0;
};

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

enum class Use { kCopy, kInPlace };

// A typed array of exactly this type: copied into the job, or held and used where it lies. A detached one,
// or one whose buffer has been resized away beneath it, has length 0, which the checks of lengths refuse.
Array typedArray(Job& job, const Napi::Value& value, napi_typedarray_type type, Use use, const std::string& name) {
  Napi::Env env = value.Env();
  napi_typedarray_type actual;
  size_t length = 0;
  void* data = nullptr;
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(env, value, &actual, &length, &data, nullptr, nullptr) != napi_ok || actual != type)
    throw Napi::TypeError::New(env, name + " is not a typed array of the expected type");
  const size_t size = elementSize(type);
  Array array;
  array.length = static_cast<int64_t>(length);
  if (length == 0) return array;
  if (!data || reinterpret_cast<uintptr_t>(data) % size != 0)
    throw Napi::TypeError::New(env, name + " is detached or misaligned");
  if (use == Use::kInPlace) {
    job.held.push_back(Napi::Reference<Napi::Value>::New(value, 1));
    array.data = data;
    return array;
  }
  Pages copy(static_cast<size_t>(length) * size);
  if (!copy.get()) throw statusError(env, QKS_E_OUT_OF_MEMORY, ("no memory to copy " + name).c_str());
  std::memcpy(copy.get(), data, length * size);
  array.data = copy.get();
  job.copiedBytes += static_cast<int64_t>(length * size);
  job.copies.push_back(std::move(copy));
  return array;
}

Array lengthOf(Array array, int64_t length, Napi::Env env, const std::string& name) {
  if (array.length != length)
    throw statusError(env, QKS_E_SHAPE,
                      (name + " has " + std::to_string(array.length) + " elements, expected " +
                       std::to_string(length) + (array.length == 0 ? " (is its buffer detached?)" : ""))
                          .c_str());
  return array;
}

const int32_t* ints(Job& job, const Napi::Object& from, const char* key, int64_t length) {
  const Napi::Value value = from.Get(key);
  return static_cast<int32_t*>(
      lengthOf(typedArray(job, value, napi_int32_array, Use::kCopy, key), length, from.Env(), key).data);
}

const float* weights(Job& job, const Napi::Object& from, const char* key, int64_t length) {
  const Napi::Value value = from.Get(key);
  if (value.IsUndefined()) return nullptr;
  return static_cast<float*>(
      lengthOf(typedArray(job, value, napi_float32_array, Use::kCopy, key), length, from.Env(), key).data);
}

int64_t lengthAt(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsTypedArray()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not a typed array");
  return static_cast<int64_t>(value.As<Napi::TypedArray>().ElementLength());
}

double* outputs(Job& job, const Napi::Object& from, const char* key, int64_t length) {
  const Array array =
      lengthOf(typedArray(job, from.Get(key), napi_float64_array, Use::kInPlace, key), length, from.Env(), key);
  adviseLarge(array.data, static_cast<size_t>(length) * sizeof(double));
  return static_cast<double*>(array.data);
}

qks_tensor tensor(Job& job, const Napi::Value& value, const char* name) {
  const Napi::Object from = objectAt(value, name);
  qks_tensor t{};
  t.dtype = small(from.Get("dtype"), "dtype");
  const Use use = from.Get("inPlace").ToBoolean() ? Use::kInPlace : Use::kCopy;
  const Array data = typedArray(job, from.Get("data"), t.dtype == QKS_F32 ? napi_float32_array : napi_uint16_array,
                                use, std::string(name) + ".data");
  t.data = data.data;
  t.length = data.length;
  const Napi::Object shape = objectAt(from.Get("shape"), "shape"), strides = objectAt(from.Get("strides"), "strides");
  for (uint32_t i = 0; i < 4; i++) {
    t.shape[i] = integer(shape.Get(i), "shape");
    t.strides[i] = integer(strides.Get(i), "strides");
  }
  return t;
}

// ---- functions ----

// open({ instructionSet, threads }) -> description. Once per environment.
Napi::Value open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Environment& environment = environmentOf(env);
  if (!environment.context) {
    const Napi::Object from = objectAt(info[0], "options");
    const std::string set = from.Get("instructionSet").ToString();
    qks_options options{small(from.Get("threads"), "threads"), set.c_str()};
    auto context = std::make_shared<Context>();
    context->backend = cpuBackend();
    if (context->backend->abi_version != QKS_ABI_VERSION)
      throw statusError(env, QKS_E_BACKEND,
                        ("the cpu backend has interface version " + std::to_string(context->backend->abi_version) +
                         ", the addon needs " + std::to_string(QKS_ABI_VERSION))
                            .c_str());
    qks_error error{};
    const int32_t status = context->backend->open(&options, &context->handle, &error);
    if (status != QKS_OK) throw statusError(env, status, error.message);
    environment.context = std::move(context);
  }
  qks_description d{};
  environment.context->backend->describe(environment.context->handle, &d, nullptr);
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", d.name);
  result.Set("version", d.version);
  result.Set("instructionSet", d.instruction_set);
  result.Set("instructionSets", d.instruction_sets);
  result.Set("threads", d.threads);
  return result;
}

// covarianceCreate(spec) -> handle
Napi::Value covarianceCreate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Object from = objectAt(info[0], "spec");
  qks_spec spec{};
  spec.heads = small(from.Get("heads"), "heads");
  spec.kv_heads = small(from.Get("kvHeads"), "kvHeads");
  spec.head_dim = small(from.Get("headDim"), "headDim");
  spec.contrasts = small(from.Get("contrasts"), "contrasts");
  spec.estimator = small(from.Get("estimator"), "estimator");
  spec.allow_non_finite = from.Get("allowNonFinite").ToBoolean() ? 1 : 0;
  spec.threads = small(from.Get("threads"), "threads");
  auto handle = std::make_shared<CovarianceHandle>();
  handle->context = contextOf(env);
  qks_error error{};
  const int32_t status =
      handle->context->backend->covariance_create(handle->context->handle, &spec, &handle->covariance, &error);
  if (status != QKS_OK) throw statusError(env, status, error.message);
  const double d = spec.head_dim;
  const double bytes = 2.0 * spec.contrasts * spec.heads * (d * d + 2 * d) * sizeof(double);
  return wrap(env, kCovariance, std::move(handle), static_cast<int64_t>(bytes));
}

std::shared_ptr<CovarianceHandle> covarianceAt(Napi::Env env, const Napi::Value& value) {
  auto handle = unwrap<CovarianceHandle>(env, value, kCovariance)->handle;
  if (!handle) throw statusError(env, QKS_E_ARGUMENT, "the covariance has been disposed of");
  return handle;
}

std::shared_ptr<Job> newJob(const Napi::Value& id) {
  auto job = std::make_shared<Job>();
  job->id = static_cast<uint32_t>(integer(id, "job"));
  return job;
}

struct BatchArguments {
  qks_batch batch{};
  std::vector<qks_labels> labels;
};

// covarianceAdd(job, handle, batch) -> promise
Napi::Value covarianceAdd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto handle = covarianceAt(env, info[1]);
  const Napi::Object from = objectAt(info[2], "batch");
  auto arguments = std::make_shared<BatchArguments>();
  qks_batch& batch = arguments->batch;
  batch.q = tensor(*job, from.Get("q"), "q");
  batch.k = tensor(*job, from.Get("k"), "k");
  if (from.Get("terms").IsObject()) {
    const Napi::Object terms = from.Get("terms").As<Napi::Object>();
    qks_terms& t = batch.terms;
    t.count = lengthAt(terms, "contrast");
    t.pos_count = lengthAt(terms, "pos");
    t.neg_count = lengthAt(terms, "neg");
    t.contrast = ints(*job, terms, "contrast", t.count);
    t.query = ints(*job, terms, "query", t.count);
    t.query_neg =
        terms.Get("queryNeg").StrictEquals(terms.Get("query")) ? t.query : ints(*job, terms, "queryNeg", t.count);
    t.pos_offsets = ints(*job, terms, "posOffsets", t.count + 1);
    t.neg_offsets = ints(*job, terms, "negOffsets", t.count + 1);
    t.pos = ints(*job, terms, "pos", t.pos_count);
    t.neg = ints(*job, terms, "neg", t.neg_count);
    t.weights = weights(*job, terms, "weights", t.count);
    t.pos_weights = weights(*job, terms, "posWeights", t.pos_count);
    t.neg_weights = weights(*job, terms, "negWeights", t.neg_count);
  }
  if (from.Get("labels").IsArray()) {
    const Napi::Array list = from.Get("labels").As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); i++) {
      Napi::HandleScope scope(env);
      const Napi::Object one = objectAt(list.Get(i), "labels");
      qks_labels l{};
      l.contrast = small(one.Get("contrast"), "contrast");
      l.reach = small(one.Get("reach"), "reach");
      l.query_count = lengthAt(one, "queryRows");
      l.key_count = lengthAt(one, "keyRows");
      l.query_rows = ints(*job, one, "queryRows", l.query_count);
      l.query_positions = ints(*job, one, "queryPositions", l.query_count);
      l.query_labels = ints(*job, one, "queryLabels", l.query_count);
      l.key_rows = ints(*job, one, "keyRows", l.key_count);
      l.key_positions = ints(*job, one, "keyPositions", l.key_count);
      l.key_labels = ints(*job, one, "keyLabels", l.key_count);
      arguments->labels.push_back(l);
    }
  }
  batch.label_count = static_cast<int64_t>(arguments->labels.size());
  batch.labels = arguments->labels.data();
  job->run = [handle, arguments](const qks_cancel* cancel, qks_error* error) {
    return handle->context->backend->covariance_add(handle->covariance, &arguments->batch, cancel, error);
  };
  return environmentOf(env).submit(std::move(job));
}

// The moments object of JavaScript, with room for `heads` heads.
qks_moments momentsAt(Job& job, const Napi::Value& value, int64_t contrasts, int64_t heads, int64_t d) {
  const Napi::Object from = objectAt(value, "moments");
  qks_moments m{};
  m.terms = outputs(job, from, "terms", contrasts);
  m.skipped = outputs(job, from, "skipped", contrasts);
  for (int s = 0; s < 2; s++) {
    const Napi::Object side = objectAt(from.Get(s == 0 ? "positive" : "negative"), "side");
    m.side[s].weight = outputs(job, side, "weight", contrasts);
    m.side[s].q = outputs(job, side, "q", contrasts * heads * d);
    m.side[s].k = outputs(job, side, "k", contrasts * heads * d);
    m.side[s].qk = outputs(job, side, "qk", contrasts * heads * d * d);
  }
  return m;
}

// covarianceMerge(job, handle, moments, contrasts, heads, headDim) -> promise; the moments are not written.
Napi::Value covarianceMerge(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto handle = covarianceAt(env, info[1]);
  const qks_moments m =
      momentsAt(*job, info[2], small(info[3], "contrasts"), small(info[4], "heads"), small(info[5], "headDim"));
  job->run = [handle, m](const qks_cancel*, qks_error* error) {
    return handle->context->backend->covariance_merge(handle->covariance, &m, error);
  };
  return environmentOf(env).submit(std::move(job));
}

// covarianceRead(job, handle, heads, moments, contrasts, headDim) -> promise; fills the moments.
Napi::Value covarianceRead(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto handle = covarianceAt(env, info[1]);
  const Array heads = typedArray(*job, info[2], napi_int32_array, Use::kCopy, "heads");
  const qks_moments m =
      momentsAt(*job, info[3], small(info[4], "contrasts"), heads.length, small(info[5], "headDim"));
  job->run = [handle, heads, m](const qks_cancel*, qks_error* error) {
    return handle->context->backend->covariance_read(handle->covariance, static_cast<const int32_t*>(heads.data),
                                                     static_cast<int32_t>(heads.length), &m, error);
  };
  return environmentOf(env).submit(std::move(job));
}

// covarianceDispose(handle): the memory goes when the jobs that are still queued have run.
Napi::Value covarianceDispose(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* box = unwrap<CovarianceHandle>(env, info[0], kCovariance);
  box->handle.reset();
  if (box->bytes) Napi::MemoryManagement::AdjustExternalMemory(env, -box->bytes);
  box->bytes = 0;
  return env.Undefined();
}

// svd(job, request) -> promise of { handle, maxRank }; fills the request's per-matrix arrays.
Napi::Value svd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const Napi::Object from = objectAt(info[1], "request");
  qks_svd_request r{};
  r.dtype = small(from.Get("dtype"), "dtype");
  r.n = integer(from.Get("n"), "n");
  r.rows = integer(from.Get("rows"), "rows");
  r.cols = integer(from.Get("cols"), "cols");
  r.mode = small(from.Get("mode"), "mode");
  r.energy = from.Get("energy").ToNumber().DoubleValue();
  r.rank = small(from.Get("rank"), "rank");
  r.max_rank = small(from.Get("maxRank"), "maxRank");
  r.seed = static_cast<uint64_t>(integer(from.Get("seed"), "seed"));
  r.threads = small(from.Get("threads"), "threads");
  const Use use = from.Get("inPlace").ToBoolean() ? Use::kInPlace : Use::kCopy;
  const Array matrices = typedArray(*job, from.Get("matrices"),
                                    r.dtype == QKS_F32 ? napi_float32_array : napi_float64_array, use, "matrices");
  r.matrices = matrices.data;
  r.length = matrices.length;
  qks_svd_summary summary{};
  summary.ranks = static_cast<int32_t*>(
      lengthOf(typedArray(*job, from.Get("ranks"), napi_int32_array, Use::kInPlace, "ranks"), r.n, env, "ranks")
          .data);
  summary.total_energy = outputs(*job, from, "totalEnergy", r.n);
  summary.error_bound = outputs(*job, from, "errorBound", r.n);
  summary.converged = static_cast<uint8_t*>(
      lengthOf(typedArray(*job, from.Get("converged"), napi_uint8_array, Use::kInPlace, "converged"), r.n, env,
               "converged")
          .data);
  auto out = std::make_shared<qks_svd_summary>(summary);
  auto handle = std::make_shared<DecompositionHandle>();
  handle->context = contextOf(env);
  job->run = [r, out, handle](const qks_cancel* cancel, qks_error* error) {
    return handle->context->backend->svd(handle->context->handle, &r, cancel, out.get(), &handle->result, error);
  };
  const int64_t rows = r.rows, cols = r.cols, n = r.n;
  job->result = [out, handle, rows, cols, n](Napi::Env resultEnv) -> Napi::Value {
    Napi::Object result = Napi::Object::New(resultEnv);
    result.Set("handle", wrap(resultEnv, kDecomposition, handle, n * out->max_rank * (rows + cols + 1) * 8));
    result.Set("maxRank", out->max_rank);
    return result;
  };
  return environmentOf(env).submit(std::move(job));
}

// svdRead(job, handle, { u, s, v }, n, rows, cols, maxRank) -> promise; fills the arrays, frees the handle.
Napi::Value svdRead(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto* box = unwrap<DecompositionHandle>(env, info[1], kDecomposition);
  auto handle = box->handle;
  if (!handle) throw statusError(env, QKS_E_ARGUMENT, "the decomposition has been read already");
  const Napi::Object to = objectAt(info[2], "outputs");
  const int64_t n = integer(info[3], "n"), rows = integer(info[4], "rows"), cols = integer(info[5], "cols"),
                rank = integer(info[6], "maxRank");
  double* u = outputs(*job, to, "u", n * rows * rank);
  double* s = outputs(*job, to, "s", n * rank);
  double* v = outputs(*job, to, "v", n * cols * rank);
  box->handle.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -box->bytes);
  box->bytes = 0;
  job->run = [handle, u, s, v](const qks_cancel*, qks_error* error) {
    return handle->context->backend->svd_read(handle->context->handle, handle->result, u, s, v, error);
  };
  return environmentOf(env).submit(std::move(job));
}

// cancel(job)
Napi::Value cancel(const Napi::CallbackInfo& info) {
  environmentOf(info.Env()).cancel(static_cast<uint32_t>(integer(info[0], "job")));
  return info.Env().Undefined();
}

// Exceptions other than JavaScript's own (no memory, a thread that cannot start) become JavaScript errors.
template <Napi::Value (*Body)(const Napi::CallbackInfo&)>
Napi::Value checked(const Napi::CallbackInfo& info) {
  try {
    return Body(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw statusError(info.Env(), QKS_E_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& exception) {
    throw statusError(info.Env(), QKS_E_INTERNAL, exception.what());
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  exports.Set("abiVersion", QKS_ABI_VERSION);
  exports.Set("open", Napi::Function::New<checked<open>>(env, "open"));
  exports.Set("covarianceCreate", Napi::Function::New<checked<covarianceCreate>>(env, "covarianceCreate"));
  exports.Set("covarianceAdd", Napi::Function::New<checked<covarianceAdd>>(env, "covarianceAdd"));
  exports.Set("covarianceMerge", Napi::Function::New<checked<covarianceMerge>>(env, "covarianceMerge"));
  exports.Set("covarianceRead", Napi::Function::New<checked<covarianceRead>>(env, "covarianceRead"));
  exports.Set("covarianceDispose", Napi::Function::New<checked<covarianceDispose>>(env, "covarianceDispose"));
  exports.Set("svd", Napi::Function::New<checked<svd>>(env, "svd"));
  exports.Set("svdRead", Napi::Function::New<checked<svdRead>>(env, "svdRead"));
  exports.Set("cancel", Napi::Function::New<checked<cancel>>(env, "cancel"));
  return exports;
}

}  // namespace
}  // namespace qkspace

static Napi::Object initQkspace(Napi::Env env, Napi::Object exports) { return qkspace::init(env, exports); }

NODE_API_MODULE(qkspace, initQkspace)
