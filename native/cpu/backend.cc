#include "cpu/backend.h"

#include <cstring>
#include <memory>
#include <string>

#include "common/pool.h"
#include "common/status.h"
#include "cpu/covariance/covariance.h"
#include "cpu/flips/largest_of_flips.h"
#include "cpu/isa/choose.h"
#include "cpu/memory/workspace.h"
#include "cpu/svd/decompose.h"

struct qks_context {
  const qkspace::Kernels* kernels;
  qkspace::Pool pool;
  qkspace::Workspace workspace;
  qks_context(const qkspace::Kernels* k, int threads) : kernels(k), pool(threads), workspace(pool.threads()) {}
};

struct qks_covariance {
  qks_context& context;
  qkspace::Covariance sums;
  qks_covariance(const qks_spec& spec, qks_context& context)
      : context(context), sums(spec, *context.kernels, context.pool, context.workspace) {}
};

struct qks_decomposition {
  qkspace::Decomposition result;
};

// A copy in the layout in which it came.
struct qks_rows {
  qkspace::Pages data;
  qks_tensor tensor;
};

namespace qkspace {
namespace {

// The tensor, its data that of the rows where it stands on some.
qks_tensor withData(const qks_tensor& t) { return t.rows ? t.rows->tensor : t; }

int32_t openContext(const qks_options* options, qks_context** out, qks_error* error) {
  return guarded(error, [&] {
    const std::string wanted = options->instruction_set ? options->instruction_set : "";
    if (options->threads < 0 || options->threads > 1024) {
      fail(QKS_E_ARGUMENT, "threads must be from 0 to 1024");
    }
    std::string reason;
    const Kernels* kernels = chooseKernels(wanted, reason);
    if (!kernels) {
      fail(QKS_E_BACKEND, reason);
    }
    *out = new qks_context(kernels, options->threads);
  });
}

void closeContext(qks_context* context) { delete context; }

int32_t describe(qks_context* context, qks_description* out, qks_error*) {
  *out = qks_description{};
  out->name = "cpu";
  out->version = "1";
  out->instruction_set = context->kernels->name;
  out->instruction_sets = availableKernels();
  out->threads = context->pool.threads();
  return QKS_OK;
}

int32_t timings(qks_context*, qks_timings* out, qks_error*) {
  *out = qks_timings{};
  return QKS_OK;
}

int32_t covarianceCreate(qks_context* context, const qks_spec* spec, qks_covariance** out, qks_error* error) {
  return guarded(error, [&] { *out = new qks_covariance(*spec, *context); });
}

void covarianceDestroy(qks_covariance* covariance) { delete covariance; }

int32_t covarianceAdd(qks_covariance* covariance, const qks_batch* batch, const qks_cancel* cancel, qks_error* error) {
  const int32_t status = guarded(error, [&] {
    qks_batch own = *batch;
    own.q = withData(batch->q);
    own.k = withData(batch->k);
    covariance->sums.add(own, cancel);
  });
  covariance->context.workspace.settle();
  return status;
}

int32_t covarianceMerge(qks_covariance* covariance, const qks_moments* moments, qks_error* error) {
  return guarded(error, [&] { covariance->sums.merge(*moments); });
}

int32_t covarianceRead(qks_covariance* covariance, const int32_t* heads, int32_t count, const qks_moments* out,
                       qks_error* error) {
  return guarded(error, [&] { covariance->sums.read(heads, count, *out); });
}

int32_t rowsUpload(qks_context*, const qks_tensor* tensor, const qks_cancel*, qks_rows** out, qks_error* error) {
  return guarded(error, [&] {
    checkTensor(*tensor, tensor->shape[2], tensor->shape[3], "tensor");
    const size_t bytes = static_cast<size_t>(tensor->length) * (tensor->dtype == QKS_F32 ? 4 : 2);
    auto rows = std::make_unique<qks_rows>();
    rows->data = Pages(bytes);
    if (!rows->data.get()) {
      throw std::bad_alloc();
    }
    if (bytes) {
      std::memcpy(rows->data.get(), tensor->data, bytes);
    }
    rows->tensor = *tensor;
    rows->tensor.data = rows->data.get();
    *out = rows.release();
  });
}

void rowsDestroy(qks_rows* rows) { delete rows; }

int32_t svd(qks_context* context, const qks_svd_request* request, const qks_cancel* cancel, qks_svd_summary* summary,
            const qks_svd_vectors* vectors, qks_decomposition** out, qks_error* error) {
  const int32_t status = guarded(error, [&] {
    auto result = std::make_unique<qks_decomposition>();
    decompose(*request, *context->kernels, context->pool, context->workspace, cancel, *summary, vectors,
              result->result);
    *out = vectors ? nullptr : result.release();
  });
  context->workspace.settle();
  return status;
}

int32_t svdRead(qks_context* context, const qks_decomposition* from, const qks_svd_vectors* to, qks_error* error) {
  return guarded(error, [&] { readDecomposition(from->result, context->pool, *to); });
}

void svdDestroy(qks_decomposition* decomposition) { delete decomposition; }

int32_t largestOfFlipsHere(qks_context* context, const qks_flips_request* request, const qks_cancel* cancel,
                           double* out, qks_error* error) {
  const int32_t status = guarded(error, [&] {
    if (!request->q.rows || !request->k.rows) {
      fail(QKS_E_ARGUMENT, "q and k must be resident");
    }
    qks_flips_request own = *request;
    own.q = withData(request->q);
    own.k = withData(request->k);
    largestOfFlips(own, *context->kernels, context->pool, context->workspace, cancel, out);
  });
  context->workspace.settle();
  return status;
}

const qks_backend kBackend = {QKS_ABI_VERSION, sizeof(qks_backend), openContext,       closeContext,  describe,
                              timings,         covarianceCreate,    covarianceDestroy, covarianceAdd, covarianceMerge,
                              covarianceRead,  rowsUpload,          rowsDestroy,       svd,           svdRead,
                              svdDestroy,      largestOfFlipsHere};

}  // namespace

const qks_backend* cpuBackend() { return &kBackend; }

}  // namespace qkspace
