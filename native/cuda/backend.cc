// The backend's table for CUDA, the one symbol that its library exports.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "abi.h"
#include "common/pool.h"
#include "common/status.h"
#include "cuda/covariance.h"
#include "cuda/device.h"
#include "cuda/products.h"
#include "cuda/svd.h"
#include "cuda/transfer.h"

namespace {

std::string versionText(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

std::string uuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; i++) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", static_cast<unsigned>(static_cast<unsigned char>(uuid.bytes[i])));
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += pair;
  }
  return text;
}

}  // namespace

struct qks_context {
  qkspace::Pool pool;
  qkspace::Device device;
  qkspace::Transfer transfer;
  qkspace::CovarianceRoom room;
  qkspace::SvdRoom svdRoom;
  std::string uuid, driver, runtime, capability;

  qks_context(int index, size_t memory, int threads)
      : pool(threads), device(index, memory), transfer(device, pool), room(device.budget), svdRoom(device.budget) {
    int version = 0;
    qkspace::check(cudaDriverGetVersion(&version), "reading the driver's version");
    driver = versionText(version);
    qkspace::check(cudaRuntimeGetVersion(&version), "reading the runtime's version");
    runtime = versionText(version);
    uuid = uuidText(device.properties.uuid);
    capability = "sm_" + std::to_string(10 * device.properties.major + device.properties.minor);
  }
};

struct qks_covariance {
  qks_context& context;
  qkspace::CudaCovariance sums;
  qks_covariance(const qks_spec& spec, qks_context& context)
      : context(context), sums(spec, context.device, context.transfer, context.room) {}
};

struct qks_rows {
  qks_context& context;
  qkspace::ResidentRows rows;
};

struct qks_decomposition {
  qkspace::CudaDecomposition result;
};

namespace qkspace {

const ResidentRows* residentRows(const qks_rows* rows) { return rows ? &rows->rows : nullptr; }

namespace {

// The device of that index or UUID; the first where nothing is asked for.
int chooseDevice(const std::string& wanted) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    fail(QKS_E_BACKEND, std::string("no CUDA device can be used: ") + cudaGetErrorString(error) +
                            (driver == 0 ? " (there is no NVIDIA driver)"
                                         : " (the driver is for CUDA " + versionText(driver) +
                                               ", the backend was built with " + versionText(runtime) + ")"));
  }
  if (count == 0) fail(QKS_E_BACKEND, "there is no CUDA device");
  std::string known;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, i), "reading a device's properties");
    const std::string uuid = uuidText(properties.uuid);
    if (wanted.empty() || wanted == std::to_string(i) || wanted == uuid) {
      if (properties.major < 8)
        fail(QKS_E_BACKEND, std::string(properties.name) + " has compute capability " +
                                std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                ", 8.0 is the least that is supported");
      return i;
    }
    known += (i ? ", " : "") + std::to_string(i) + " = " + properties.name + " (" + uuid + ")";
  }
  fail(QKS_E_BACKEND, "there is no CUDA device '" + wanted + "'; there are " + known);
}

int32_t openContext(const qks_options* options, qks_context** out, qks_error* error) {
  return guarded(error, [&] {
    if (options->threads < 0 || options->threads > 1024) fail(QKS_E_ARGUMENT, "threads must be from 0 to 1024");
    const int index = chooseDevice(options->device ? options->device : "");
    check(cudaSetDevice(index), "choosing the device");
    *out = new qks_context(index, static_cast<size_t>(options->device_memory), options->threads);
  });
}

void closeContext(qks_context* context) {
  cudaSetDevice(context->device.index);
  delete context;
}

int32_t describe(qks_context* context, qks_description* out, qks_error* error) {
  return guarded(error, [&] {
    context->device.use();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "reading the device's memory");
    *out = qks_description{};
    out->name = "cuda";
    out->version = "1";
    out->instruction_set = context->capability.c_str();
    out->instruction_sets = context->capability.c_str();
    out->threads = context->pool.threads();
    out->device = context->device.properties.name;
    out->device_uuid = context->uuid.c_str();
    out->driver_version = context->driver.c_str();
    out->runtime_version = context->runtime.c_str();
    out->memory_total = total;
    out->memory_free = free;
    out->memory_limit = context->device.budget.limit;
  });
}

int32_t timings(qks_context* context, qks_timings* out, qks_error* error) {
  return guarded(error, [&] {
    Device& device = context->device;
    device.use();
    *out = {device.arithmetic.take(), device.copying.take(), device.copiedBytes};
    device.copiedBytes = 0;
  });
}

int32_t covarianceCreate(qks_context* context, const qks_spec* spec, qks_covariance** out, qks_error* error) {
  return guarded(error, [&] {
    context->device.use();
    *out = new qks_covariance(*spec, *context);
  });
}

void covarianceDestroy(qks_covariance* covariance) {
  cudaSetDevice(covariance->context.device.index);
  delete covariance;
}

int32_t covarianceAdd(qks_covariance* covariance, const qks_batch* batch, const qks_cancel* cancel, qks_error* error) {
  return guarded(error, [&] { covariance->sums.add(*batch, cancel); });
}

int32_t covarianceMerge(qks_covariance* covariance, const qks_moments* moments, qks_error* error) {
  return guarded(error, [&] { covariance->sums.merge(*moments); });
}

int32_t covarianceRead(qks_covariance* covariance, const int32_t* heads, int32_t count, const qks_moments* out,
                       qks_error* error) {
  return guarded(error, [&] { covariance->sums.read(heads, count, *out); });
}

int32_t rowsUpload(qks_context* context, const qks_tensor* tensor, const qks_cancel* cancel, qks_rows** out,
                   qks_error* error) {
  return guarded(error, [&] {
    context->device.use();
    *out = new qks_rows{*context, ResidentRows(context->device, context->transfer, *tensor, cancel)};
  });
}

void rowsDestroy(qks_rows* rows) {
  cudaSetDevice(rows->context.device.index);
  delete rows;
}

int32_t svd(qks_context* context, const qks_svd_request* request, const qks_cancel* cancel, qks_svd_summary* summary,
            qks_decomposition** out, qks_error* error) {
  return guarded(error, [&] {
    context->device.use();
    auto result = std::make_unique<qks_decomposition>();
    decompose(context->device, context->transfer, context->svdRoom, *request, cancel, *summary, result->result);
    *out = result.release();
  });
}

int32_t svdRead(qks_context*, const qks_decomposition* from, double* u, double* s, double* v, qks_error* error) {
  return guarded(error, [&] { readDecomposition(from->result, u, s, v); });
}

void svdDestroy(qks_decomposition* decomposition) { delete decomposition; }

int32_t largestOfProductsHere(qks_context* context, const qks_products_request* request, const qks_cancel* cancel,
                              double* out, qks_error* error) {
  return guarded(error, [&] { largestOfProducts(context->device, context->transfer, *request, cancel, out); });
}

const qks_backend kBackend = {QKS_ABI_VERSION, sizeof(qks_backend), openContext,       closeContext,
                              describe,        timings,             covarianceCreate,  covarianceDestroy,
                              covarianceAdd,   covarianceMerge,     covarianceRead,    rowsUpload,
                              rowsDestroy,     svd,                 svdRead,           svdDestroy,
                              largestOfProductsHere};

}  // namespace
}  // namespace qkspace

extern "C" __attribute__((visibility("default"))) const qks_backend* qkspace_backend() { return &qkspace::kBackend; }
