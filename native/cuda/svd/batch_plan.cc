#include "cuda/svd/batch_plan.h"

#include <algorithm>
#include <utility>

#include "cuda/runtime/memory.h"
#include "cuda/svd/batch_arrays.cuh"
#include "cuda/svd/kernels/panel.cuh"
#include "cuda/svd/kernels/polish.cuh"
#include "cuda/svd/kernels/spread.cuh"

namespace qkspace {
namespace {

constexpr int64_t kMostMatrices = 512;
// Of the shared memory of a block: static arrays and alignment.
constexpr size_t kSharedAside = 3072;
constexpr int kWidestSpread = 64;

size_t bytesAvailable(const Device& device, const SvdWorkspace& workspace) {
  return std::min(device.budget.limit, device.budget.available() + workspace.bytes());
}

size_t transposedBytes(const BatchPlan& plan) {
  return plan.widest ? static_cast<size_t>(plan.shape.m) * static_cast<size_t>(plan.shape.ldn) * plan.element : 0;
}

}  // namespace

int BatchPlan::residentBlocks(const Device& device, int threads, size_t shared) const {
  const size_t byShared = (sharedLimit + 4096) / (shared + 1024), byThreads = static_cast<size_t>(1536 / threads);
  return static_cast<int>(std::max<size_t>(1, std::min<size_t>({byShared, byThreads, 16}))) *
         std::max(1, device.properties.multiProcessorCount);
}

BatchPlan planBatches(const Device& device, const SvdWorkspace& workspace, const qks_svd_request& request) {
  BatchPlan plan{};
  plan.shape = shapeOf(request.rows, request.cols);
  plan.element = request.dtype == QKS_F32 ? sizeof(float) : sizeof(double);
  plan.size = static_cast<size_t>(request.rows * request.cols);
  plan.sizeY = static_cast<size_t>(plan.shape.n) * static_cast<size_t>(plan.shape.ldm);
  plan.sizeV = static_cast<size_t>(plan.shape.n) * static_cast<size_t>(plan.shape.ldn);
  plan.sharedLimit = device.properties.sharedMemPerBlockOptin - kSharedAside;
  plan.single = planJacobi(plan.shape, sizeof(float), plan.sharedLimit);
  plan.wide = planJacobi(plan.shape, sizeof(double), plan.sharedLimit);
  plan.spread = plan.shape.n >= workspace.spreadFrom;
  plan.direct = plan.shape.n <= kDirect;
  plan.polish = !plan.direct && !plan.spread && plan.shape.ldm <= kTensorSide && kPolishShared <= plan.sharedLimit;
  plan.widest = request.mode == QKS_SVD_FULL ? 0 : widestPanel(plan.shape.n);
  if (plan.spread) {
    // A panel is one block's work: above this, the whole device is sooner done with all of the matrix.
    plan.widest = std::min(plan.widest, kWidestSpread);
  }

  const size_t vectors = 2 * sizeof(double) * (plan.sizeY + plan.sizeV);  // as worked on, and packed
  const size_t arrays = BatchArrays::bytes(static_cast<size_t>(plan.shape.n));
  const size_t each = (2 * plan.size + plan.sizeY) * plan.element + transposedBytes(plan) + vectors + arrays;
  const size_t available = bytesAvailable(device, workspace);
  // Four matrices a multiprocessor keep it busy; more would wait longer for `cancel`.
  const int64_t busy = std::min<int64_t>(kMostMatrices, 4 * std::max(1, device.properties.multiProcessorCount));
  const int64_t enough = std::min(busy, request.n);
  const size_t panel = plan.widest ? planPanel(plan.shape, plan.widest, plan.sharedLimit).scratch : 0;
  plan.slotBytes = std::max(plan.direct || plan.spread ? 0 : 2 * plan.sizeV * sizeof(double), panel);
  const int resident = plan.polish ? plan.residentBlocks(device, kTensorThreads, kPolishShared)
                                   : plan.residentBlocks(device, kProductThreads, 0);
  size_t slots = static_cast<size_t>(std::min<int64_t>(resident, enough));
  if (plan.slotBytes > 0) {
    slots = std::min(slots, available / 4 / plan.slotBytes);
  }
  slots = std::max<size_t>(1, slots);
  plan.slots = static_cast<int>(slots);
  const size_t left = available - std::min(available, slots * plan.slotBytes);
  plan.batch = std::max<int64_t>(1, std::min(enough, static_cast<int64_t>(left / 10 * 9 / each)));
  return plan;
}

void reserveBatch(const Device& device, const BatchPlan& plan, SvdWorkspace& workspace) {
  const size_t batch = static_cast<size_t>(plan.batch);
  const size_t arrays = batch * BatchArrays::bytes(static_cast<size_t>(plan.shape.n));
  const size_t flags = plan.spread ? batch * static_cast<size_t>(spreadBlocks(plan.shape.n)) * sizeof(int32_t) : 0;
  const std::pair<DeviceBuffer*, size_t> wanted[] = {
      {&workspace.scratch, std::max(static_cast<size_t>(plan.slots) * plan.slotBytes, flags)},
      {&workspace.raw[0], batch * plan.size * plan.element},
      {&workspace.raw[1], batch * plan.size * plan.element},
      {&workspace.matrices, batch * plan.sizeY * plan.element},
      {&workspace.transposed, batch * transposedBytes(plan)},
      {&workspace.y, batch * plan.sizeY * sizeof(double)},
      {&workspace.v, batch * plan.sizeV * sizeof(double)},
      {&workspace.small, arrays + 64},
  };
  // What earlier calls left may be of other proportions.
  size_t together = std::max(batch * (plan.sizeY + plan.sizeV) * sizeof(double), workspace.packed.bytes());
  for (const auto& [buffer, bytes] : wanted) {
    together += std::max(bytes, buffer->bytes());
  }
  if (together > bytesAvailable(device, workspace)) {
    workspace.release();
  }
  for (const auto& [buffer, bytes] : wanted) {
    buffer->reserve(bytes, "a batch of matrices");
  }
  workspace.answers.reserve(arrays);
}

}  // namespace qkspace
