// The addon's functions: read and check arguments, build a job, hand it to the environment's queue.
// Arithmetic is reached only through the table of abi.h.
#include <cmath>
#include <cstring>

#include "registry.h"
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

struct RowsHandle {
  std::shared_ptr<Context> context;
  qks_rows* rows = nullptr;
  ~RowsHandle() {
    if (rows) context->backend->rows_destroy(rows);
  }
};

// What an External carries. The magic number tells the kinds apart.
template <typename Handle>
struct Box {
  uint64_t magic;
  std::shared_ptr<Handle> handle;
  int64_t bytes;
};
constexpr uint64_t kContext = 0x716b736374783031, kCovariance = 0x716b73636f763031,
                   kDecomposition = 0x716b737376643031, kRows = 0x716b73726f773031;

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

std::shared_ptr<Context> contextAt(Napi::Env env, const Napi::Value& value) {
  return unwrap<Context>(env, value, kContext)->handle;
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

// `context` is that of the call: rows that another one keeps cannot be read by it.
qks_tensor tensor(Job& job, const std::shared_ptr<Context>& context, const Napi::Value& value, const char* name) {
  Napi::Env env = value.Env();
  const Napi::Object from = objectAt(value, name);
  qks_tensor t{};
  t.dtype = small(from.Get("dtype"), "dtype");
  const Napi::Object shape = objectAt(from.Get("shape"), "shape"), strides = objectAt(from.Get("strides"), "strides");
  for (uint32_t i = 0; i < 4; i++) {
    t.shape[i] = integer(shape.Get(i), "shape");
    t.strides[i] = integer(strides.Get(i), "strides");
  }
  const Napi::Value resident = from.Get("rows");
  if (resident.IsExternal()) {
    const auto handle = unwrap<RowsHandle>(env, resident, kRows)->handle;
    if (!handle) throw statusError(env, QKS_E_ARGUMENT, (std::string(name) + " has been released").c_str());
    if (handle->context != context)
      throw statusError(env, QKS_E_ARGUMENT, (std::string(name) + " was uploaded to another backend").c_str());
    t.rows = handle->rows;
    job.kept.push_back(handle);
    return t;
  }
  const Use use = from.Get("inPlace").ToBoolean() ? Use::kInPlace : Use::kCopy;
  const Array data = typedArray(job, from.Get("data"), t.dtype == QKS_F32 ? napi_float32_array : napi_uint16_array,
                                use, std::string(name) + ".data");
  t.data = data.data;
  t.length = data.length;
  return t;
}

// ---- functions ----

Napi::Object described(Napi::Env env, const Context& context) {
  qks_description d{};
  qks_error error{};
  const int32_t status = context.backend->describe(context.handle, &d, &error);
  if (status != QKS_OK) throw statusError(env, status, error.message);
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", d.name);
  result.Set("version", d.version);
  result.Set("instructionSet", d.instruction_set);
  result.Set("instructionSets", d.instruction_sets);
  result.Set("threads", d.threads);
  if (!d.device) return result;
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

std::shared_ptr<Job> newJob(const Napi::Value& id) {
  auto job = std::make_shared<Job>();
  job->id = static_cast<uint32_t>(integer(id, "job"));
  return job;
}

// open({ backend, library, instructionSet, threads, device, deviceMemory }) -> context
Napi::Value open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Object from = objectAt(info[0], "options");
  const std::string name = from.Get("backend").ToString(), library = from.Get("library").ToString(),
                    set = from.Get("instructionSet").ToString(), device = from.Get("device").ToString();
  qks_options options{};
  options.threads = small(from.Get("threads"), "threads");
  options.instruction_set = set.c_str();
  options.device = device.c_str();
  options.device_memory = static_cast<uint64_t>(integer(from.Get("deviceMemory"), "deviceMemory"));
  auto context = std::make_shared<Context>();
  std::string reason;
  context->backend = findBackend(name, library, reason);
  if (!context->backend) throw statusError(env, QKS_E_BACKEND, reason.c_str());
  qks_error error{};
  const int32_t status = context->backend->open(&options, &context->handle, &error);
  if (status != QKS_OK) throw statusError(env, status, error.message);
  environmentOf(env).contexts.push_back(context);
  return wrap(env, kContext, std::move(context), 0);
}

// describe(context) -> description
Napi::Value describe(const Napi::CallbackInfo& info) {
  return described(info.Env(), *contextAt(info.Env(), info[0]));
}

// timings(job, context) -> promise of { arithmeticMs, copyMs, copyBytes }
Napi::Value timings(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto context = contextAt(env, info[1]);
  auto out = std::make_shared<qks_timings>();
  job->run = [context, out](const qks_cancel*, qks_error* error) {
    return context->backend->timings(context->handle, out.get(), error);
  };
  job->result = [out](Napi::Env resultEnv) -> Napi::Value {
    Napi::Object result = Napi::Object::New(resultEnv);
    result.Set("arithmeticMs", out->arithmetic_ms);
    result.Set("copyMs", out->copy_ms);
    result.Set("copyBytes", static_cast<double>(out->copy_bytes));
    return result;
  };
  return environmentOf(env).submit(std::move(job));
}

// covarianceCreate(context, spec) -> handle
Napi::Value covarianceCreate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Object from = objectAt(info[1], "spec");
  qks_spec spec{};
  spec.heads = small(from.Get("heads"), "heads");
  spec.kv_heads = small(from.Get("kvHeads"), "kvHeads");
  spec.head_dim = small(from.Get("headDim"), "headDim");
  spec.contrasts = small(from.Get("contrasts"), "contrasts");
  spec.estimator = small(from.Get("estimator"), "estimator");
  spec.allow_non_finite = from.Get("allowNonFinite").ToBoolean() ? 1 : 0;
  spec.threads = small(from.Get("threads"), "threads");
  auto handle = std::make_shared<CovarianceHandle>();
  handle->context = contextAt(env, info[0]);
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
  batch.q = tensor(*job, handle->context, from.Get("q"), "q");
  batch.k = tensor(*job, handle->context, from.Get("k"), "k");
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

// rowsUpload(job, context, tensor, bytes) -> promise of a handle
Napi::Value rowsUpload(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto handle = std::make_shared<RowsHandle>();
  handle->context = contextAt(env, info[1]);
  auto t = std::make_shared<qks_tensor>(tensor(*job, handle->context, info[2], "tensor"));
  job->run = [handle, t](const qks_cancel* cancel, qks_error* error) {
    return handle->context->backend->rows_upload(handle->context->handle, t.get(), cancel, &handle->rows, error);
  };
  job->result = [handle](Napi::Env resultEnv) -> Napi::Value { return wrap(resultEnv, kRows, handle, 0); };
  return environmentOf(env).submit(std::move(job));
}

// rowsRelease(handle): the memory goes when the jobs that read it have run.
Napi::Value rowsRelease(const Napi::CallbackInfo& info) {
  unwrap<RowsHandle>(info.Env(), info[0], kRows)->handle.reset();
  return info.Env().Undefined();
}

// svd(job, context, request) -> promise of { handle, maxRank }; fills the request's per-matrix arrays.
Napi::Value svd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const Napi::Object from = objectAt(info[2], "request");
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
  handle->context = contextAt(env, info[1]);
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

// largestOfProducts(job, context, request, out) -> promise; fills out [heads, draws].
Napi::Value largestOfProducts(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  auto context = contextAt(env, info[1]);
  if (!context->backend->largest_of_products)
    throw statusError(env, QKS_E_BACKEND, "this backend makes no products of its own");
  const Napi::Object from = objectAt(info[2], "request");
  auto r = std::make_shared<qks_products_request>();
  r->q = tensor(*job, context, from.Get("q"), "q");
  r->k = tensor(*job, context, from.Get("k"), "k");
  r->products = lengthAt(from, "query");
  r->draws = integer(from.Get("draws"), "draws");
  r->rank = small(from.Get("rank"), "rank");
  r->seed = static_cast<uint64_t>(integer(from.Get("seed"), "seed"));
  if (r->draws < 1 || r->draws > 65535 || r->rank < 0)
    throw statusError(env, QKS_E_ARGUMENT, "draws or rank is out of range");
  r->query = ints(*job, from, "query", r->products);
  r->key = ints(*job, from, "key", r->products);
  r->coefficients = weights(*job, from, "coefficients", r->products * r->draws);
  if (!r->coefficients) throw Napi::TypeError::New(env, "coefficients is not a typed array");
  const int64_t heads = r->q.shape[2], basis = heads * r->q.shape[3] * r->rank;
  for (const char* side : {"u", "v"}) {
    if (r->rank == 0) break;
    const Array array =
        lengthOf(typedArray(*job, from.Get(side), napi_float64_array, Use::kCopy, side), basis, env, side);
    (side[0] == 'u' ? r->u : r->v) = static_cast<const double*>(array.data);
  }
  const Array out = lengthOf(typedArray(*job, info[3], napi_float64_array, Use::kInPlace, "out"), heads * r->draws, env,
                             "out");
  job->run = [context, r, out](const qks_cancel* cancel, qks_error* error) {
    return context->backend->largest_of_products(context->handle, r.get(), cancel, static_cast<double*>(out.data),
                                                 error);
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
  exports.Set("describe", Napi::Function::New<checked<describe>>(env, "describe"));
  exports.Set("timings", Napi::Function::New<checked<timings>>(env, "timings"));
  exports.Set("rowsUpload", Napi::Function::New<checked<rowsUpload>>(env, "rowsUpload"));
  exports.Set("rowsRelease", Napi::Function::New<checked<rowsRelease>>(env, "rowsRelease"));
  exports.Set("covarianceCreate", Napi::Function::New<checked<covarianceCreate>>(env, "covarianceCreate"));
  exports.Set("covarianceAdd", Napi::Function::New<checked<covarianceAdd>>(env, "covarianceAdd"));
  exports.Set("covarianceMerge", Napi::Function::New<checked<covarianceMerge>>(env, "covarianceMerge"));
  exports.Set("covarianceRead", Napi::Function::New<checked<covarianceRead>>(env, "covarianceRead"));
  exports.Set("covarianceDispose", Napi::Function::New<checked<covarianceDispose>>(env, "covarianceDispose"));
  exports.Set("svd", Napi::Function::New<checked<svd>>(env, "svd"));
  exports.Set("svdRead", Napi::Function::New<checked<svdRead>>(env, "svdRead"));
  exports.Set("largestOfProducts", Napi::Function::New<checked<largestOfProducts>>(env, "largestOfProducts"));
  exports.Set("cancel", Napi::Function::New<checked<cancel>>(env, "cancel"));
  return exports;
}

}  // namespace
}  // namespace qkspace

static Napi::Object initQkspace(Napi::Env env, Napi::Object exports) { return qkspace::init(env, exports); }

NODE_API_MODULE(qkspace, initQkspace)
