#include "cuda/covariance/covariance.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "common/batch.h"
#include "common/status.h"
#include "cuda/covariance/chunk_sums.h"
#include "cuda/covariance/plan.h"
#include "cuda/products/sums.h"
#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/rows/range/nonfinite_rows.h"
#include "cuda/rows/read_rows.h"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stopwatch.h"

namespace qkspace {
namespace {

constexpr const char* kCovariances = "the covariance set";

// Nothing that was put into the streams is left when it goes, whatever happened.
struct BothFinished {
  const Device& device;
  ~BothFinished() {
    cudaStreamSynchronize(device.copies);
    cudaStreamSynchronize(device.stream);
  }
};

BatchRows rowsOf(const RowView& view, const qks_tensor& tensor, RowNumbers& numbers) {
  const ResidentRows* resident = residentRows(tensor.rows);
  return {view, static_cast<int32_t>(tensor.shape[2]), static_cast<int32_t>(tensor.shape[3]), resident, numbers};
}

}  // namespace

CudaCovariance::CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceWorkspace& workspace)
    : spec_(checkSpec(spec)),
      shape_{spec.heads, spec.kv_heads, spec.head_dim},
      device_(device),
      transfer_(transfer),
      workspace_(workspace),
      sums_(device.budget) {
  if (spec.heads > 32767) {
    fail(QKS_E_ARGUMENT, "heads is above 32767");
  }
  terms_.assign(static_cast<size_t>(spec.contrasts), 0);
  skipped_ = weight_[0] = weight_[1] = terms_;
  device.budget.refuseBeyondLimit(sumsBytes(), kCovariances);
}

int64_t CudaCovariance::sumsCount() const { return blockOffset(spec_.contrasts, 0, spec_.heads, 0, spec_.head_dim); }

size_t CudaCovariance::sumsBytes() const { return static_cast<size_t>(sumsCount()) * sizeof(double); }

void CudaCovariance::reserveSums() {
  device_.use();
  if (sums_.bytes() > 0) {
    return;
  }
  sums_.reserve(sumsBytes(), kCovariances);
  check(cudaMemsetAsync(sums_.get<double>(), 0, sumsBytes(), device_.stream), "clearing the sums");
}

uint32_t CudaCovariance::readFlags() {
  const size_t heads = static_cast<size_t>(shape_.heads) + static_cast<size_t>(shape_.kvHeads);
  workspace_.answer.reserve((1 + heads) * sizeof(uint32_t));
  uint32_t* const answer = workspace_.answer.get<uint32_t>();
  check(cudaMemcpyAsync(answer, workspace_.flags.get<uint32_t>(), sizeof(uint32_t), cudaMemcpyDeviceToHost,
                        device_.stream),
        "reading flags");
  check(cudaMemcpyAsync(answer + 1, workspace_.magnitudes.get<uint32_t>(), heads * sizeof(uint32_t),
                        cudaMemcpyDeviceToHost, device_.stream),
        "reading magnitudes");
  device_.stream.finish("summing a batch");
  return *answer;
}

std::vector<int32_t> CudaCovariance::headsBeyondF32(const BatchRows& q, const BatchRows& k, bool readsKeys) const {
  const uint32_t* const met = workspace_.answer.get<uint32_t>() + 1;
  std::vector<int32_t> heads;
  for (int32_t h = 0; h < shape_.heads; h++) {
    const int32_t keyHead = h / (shape_.heads / shape_.kvHeads);
    uint32_t query = met[h], key = met[shape_.heads + keyHead];
    if (q.resident()) {
      query = std::max(query, q.resident()->largest[static_cast<size_t>(h)]);
    }
    if (k.resident() && readsKeys) {
      key = std::max(key, k.resident()->largest[static_cast<size_t>(keyHead)]);
    }
    if (outsideSafeRange(query) || outsideSafeRange(key)) {
      heads.push_back(h);
    }
  }
  return heads;
}

std::vector<int32_t> CudaCovariance::allHeads() const {
  std::vector<int32_t> heads(static_cast<size_t>(shape_.heads));
  std::iota(heads.begin(), heads.end(), 0);
  return heads;
}

HeadList CudaCovariance::sendHeads(const std::vector<int32_t>& heads) {
  workspace_.heads.reserve(std::max<size_t>(64, heads.size() * sizeof(int32_t)), "a list of heads");
  transfer_.bytes(heads.data(), heads.size() * sizeof(int32_t), workspace_.heads.get<char>());
  return {workspace_.heads.get<int32_t>(), static_cast<int32_t>(heads.size())};
}

void CudaCovariance::clear(double* sums, const std::vector<int32_t>& heads) {
  const size_t bytes = static_cast<size_t>(2 * blockSize(shape_.d)) * sizeof(double);
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    for (const int32_t h : heads) {
      check(cudaMemsetAsync(sums + blockOffset(c, h, shape_.heads, 0, shape_.d), 0, bytes, device_.stream),
            "clearing the sums");
    }
  }
}

void CudaCovariance::add(const qks_batch& in, const qks_cancel* cancel) {
  // Before the workspace is in use, which may have to go for them.
  reserveSums();
  const Kept::Use use(workspace_);
  const BothFinished finished{device_};
  Batch& batch = workspace_.batch;
  prepareBatch(spec_, in, transfer_.pool(), batch);
  const PreparedBatch& b = batch.view;
  const size_t magnitudesBytes =
      (static_cast<size_t>(shape_.heads) + static_cast<size_t>(shape_.kvHeads)) * sizeof(uint32_t);
  workspace_.flags.reserve(64, "flags");
  workspace_.magnitudes.reserve(magnitudesBytes, "the largest magnitudes of heads");
  workspace_.batchSums.reserve(sumsBytes(), "the batch's sums");
  double* sums = workspace_.batchSums.get<double>();
  uint32_t* flags = workspace_.flags.get<uint32_t>();
  BatchRows q = rowsOf(b.q, in.q, workspace_.queryNumbers), k = rowsOf(b.k, in.k, workspace_.keyNumbers);
  const CovariancePlan plan = planCovariance(b, shape_, q, k, device_, transfer_.pool(), workspace_);
  auto sum = [&](const HeadList& exactly) {
    check(cudaMemsetAsync(flags, 0, sizeof(uint32_t), device_.stream), "clearing flags");
    check(cudaMemsetAsync(workspace_.magnitudes.get<uint32_t>(), 0, magnitudesBytes, device_.stream),
          "clearing magnitudes");
    BatchSums{device_, transfer_, workspace_, shape_, b, plan, q, k, exactly, sums, cancel}.addAll();
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    if (!spec_.allow_non_finite) {
      findNonFinite(device_.stream, sums, sumsCount(), flags);
    }
  };
  check(cudaMemsetAsync(sums, 0, sumsBytes(), device_.stream), "clearing the sums");
  sum(device_.plain ? sendHeads(allHeads()) : HeadList{nullptr, 0});
  uint32_t raised = readFlags();
  const std::vector<int32_t> beyond = device_.plain ? std::vector<int32_t>() : headsBeyondF32(q, k, plan.readsKeys());
  if (!beyond.empty()) {
    // Products that f32 cannot hold: these heads again, in f64.
    if (!spec_.allow_non_finite) {
      refuseNonFiniteRows(b, q, k);
    }
    clear(sums, beyond);
    sum(sendHeads(beyond));
    raised = readFlags();
  }
  if (raised & kNotFinite) {
    refuseNonFiniteRows(b, q, k);
    fail(QKS_E_NON_FINITE, "a sum of products is beyond the range of float64");
  }
  stopUnlessAgreed(cancel);
  {
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    addSums(device_.stream, sums, sumsCount(), sums_.get<double>());
  }
  device_.stream.finish("adding a batch's sums");
  for (size_t c = 0; c < static_cast<size_t>(spec_.contrasts); c++) {
    terms_[c] += batch.terms[c];
    skipped_[c] += batch.skipped[c];
    for (int s = 0; s < 2; s++) {
      weight_[s][c] += batch.weight[s][c];
    }
  }
}

void CudaCovariance::refuseNonFiniteRows(const PreparedBatch& b, const BatchRows& q, const BatchRows& k) {
  auto look = [&](const char* name, const BatchRows& rows, const std::vector<int32_t>& read) {
    HeadRow found;
    if (rows.resident()) {
      DeviceBuffer& list = workspace_.chunkBuffers[0].indices;
      list.reserve(std::max<size_t>(1, read.size()) * sizeof(int32_t), "rows to look at");
      transfer_.bytes(read.data(), read.size() * sizeof(int32_t), list.get<char>());
      if (!findNonFiniteRow(device_, rows.at(nullptr), list.get<int32_t>(), static_cast<int64_t>(read.size()), found)) {
        return;
      }
    } else if (!findNonFiniteHostRow(rows.view(), rows.heads(), rows.d(), read, transfer_.pool(), found)) {
      return;
    }
    failNonFinite(name, found);
  };
  look("q", q, queriesRead(b));
  look("k", k, keysRead(b));
}

void CudaCovariance::merge(const qks_moments& in) {
  reserveSums();
  const Kept::Use use(workspace_);
  const int64_t d = spec_.head_dim, heads = spec_.heads;
  std::vector<double> all(static_cast<size_t>(sumsCount()));
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    for (int64_t h = 0; h < heads; h++) {
      for (int32_t s = 0; s < 2; s++) {
        const int64_t from = c * heads + h;
        double* to = all.data() + blockOffset(c, static_cast<int32_t>(h), spec_.heads, s, spec_.head_dim);
        std::copy_n(in.side[s].q + from * d, d, to);
        std::copy_n(in.side[s].k + from * d, d, to + d);
        std::copy_n(in.side[s].qk + from * d * d, d * d, to + 2 * d);
      }
    }
  }
  workspace_.batchSums.reserve(all.size() * sizeof(double), "sums to be merged");
  transfer_.bytes(all.data(), all.size() * sizeof(double), workspace_.batchSums.get<char>());
  addSums(device_.stream, workspace_.batchSums.get<double>(), sumsCount(), sums_.get<double>());
  device_.stream.finish("merging sums");
  for (size_t c = 0; c < static_cast<size_t>(spec_.contrasts); c++) {
    terms_[c] += in.terms[c];
    skipped_[c] += in.skipped[c];
    for (int s = 0; s < 2; s++) {
      weight_[s][c] += in.side[s].weight[c];
    }
  }
}

void CudaCovariance::read(const int32_t* wanted, int32_t count, const qks_moments& out) {
  reserveSums();
  checkHeads(wanted, count, spec_.heads);
  const int64_t d = spec_.head_dim, both = 2 * blockSize(spec_.head_dim);
  workspace_.answer.reserve(static_cast<size_t>(both * count) * sizeof(double));
  double* landed = workspace_.answer.get<double>();
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    out.terms[c] = terms_[static_cast<size_t>(c)];
    out.skipped[c] = skipped_[static_cast<size_t>(c)];
    for (int s = 0; s < 2; s++) {
      out.side[s].weight[c] = weight_[s][static_cast<size_t>(c)];
    }
    for (int32_t i = 0; i < count; i++) {
      check(cudaMemcpyAsync(landed + i * both,
                            sums_.get<double>() + blockOffset(c, wanted[i], spec_.heads, 0, spec_.head_dim),
                            static_cast<size_t>(both) * sizeof(double), cudaMemcpyDeviceToHost, device_.stream),
            "reading sums");
    }
    device_.stream.finish("reading sums");
    for (int32_t i = 0; i < count; i++) {
      for (int s = 0; s < 2; s++) {
        const double* from = landed + i * both + s * blockSize(spec_.head_dim);
        const int64_t to = c * count + i;
        std::copy_n(from, d, out.side[s].q + to * d);
        std::copy_n(from + d, d, out.side[s].k + to * d);
        std::copy_n(from + 2 * d, d * d, out.side[s].qk + to * d * d);
      }
    }
  }
}

}  // namespace qkspace
