// The backend's table for CUDA, the one symbol that its library exports.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "abi.h"
#include "common/pool.h"
#include "common/status.h"
#include "cuda/covariance/covariance.h"
#include "cuda/covariance/workspace.h"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/choose_device.h"
#include "cuda/runtime/copies/transfer.h"
#include "cuda/runtime/device.h"
#include "cuda/svd/decomposition.h"
#include "cuda/svd/largest/null_values.h"
#include "cuda/svd/svd.h"
#include "cuda/svd/workspace.h"

struct qks_context {
  qkspace::Pool pool;
  qkspace::Device device;
  qkspace::Transfer transfer;
  qkspace::CovarianceWorkspace workspace;
  qkspace::SvdWorkspace svdWorkspace;
  std::string uuid, driver, runtime, capability;

  qks_context(int index, size_t memory, int threads)
      : pool(threads),
        device(index, memory),
        transfer(device, pool),
        workspace(device.budget),
        svdWorkspace(device.budget) {
    int version = 0;
    qkspace::check(cudaDriverGetVersion(&version), "reading the driver's version");
    driver = qkspace::versionText(version);
    qkspace::check(cudaRuntimeGetVersion(&version), "reading the runtime's version");
    runtime = qkspace::versionText(version);
    uuid = qkspace::uuidText(device.properties.uuid);
    capability = "sm_" + std::to_string(10 * device.properties.major + device.properties.minor);
  }
};

struct qks_covariance {
  qks_context& context;
  qkspace::CudaCovariance sums;
  qks_covariance(const qks_spec& spec, qks_context& context)
      : context(context), sums(spec, context.device, context.transfer, context.workspace) {}
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

int32_t openContext(const qks_options* options, qks_context** out, qks_error* error) {
  return guarded(error, [&] {
    if (options->threads < 0 || options->threads > 1024) {
      fail(QKS_E_ARGUMENT, "threads must be from 0 to 1024");
    }
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
  return guarded(error, [&] { *out = new qks_covariance(*spec, *context); });
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
            const qks_svd_vectors* vectors, qks_decomposition** out, qks_error* error) {
  return guarded(error, [&] {
    context->device.use();
    auto result = std::make_unique<qks_decomposition>();
    decompose(context->device, context->transfer, context->svdWorkspace, *request, cancel, *summary, vectors,
              result->result);
    *out = vectors ? nullptr : result.release();
  });
}

int32_t svdRead(qks_context* context, const qks_decomposition* from, const qks_svd_vectors* to, qks_error* error) {
  return guarded(error, [&] { readDecomposition(from->result, context->pool, *to); });
}

void svdDestroy(qks_decomposition* decomposition) { delete decomposition; }

int32_t largestOfFlipsHere(qks_context* context, const qks_flips_request* request, const qks_cancel* cancel,
                           double* out, qks_error* error) {
  return guarded(error, [&] { largestOfFlips(context->device, context->transfer, *request, cancel, out); });
}

const qks_backend kBackend = {QKS_ABI_VERSION, sizeof(qks_backend), openContext,       closeContext,  describe,
                              timings,         covarianceCreate,    covarianceDestroy, covarianceAdd, covarianceMerge,
                              covarianceRead,  rowsUpload,          rowsDestroy,       svd,           svdRead,
                              svdDestroy,      largestOfFlipsHere};

}  // namespace
}  // namespace qkspace

extern "C" __attribute__((visibility("default"))) const qks_backend* qkspace_backend() { return &qkspace::kBackend; }
