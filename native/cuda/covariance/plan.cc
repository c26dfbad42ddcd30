// What the limit of the device's memory leaves beside the sums, resident tensors and the like is divided so:
//
//   1/2    rows: all that the batch can read, each brought once, if they fit; otherwise 1/4 for each of two chunks
//   2/16   indices of two chunks
//   1/8    partial sums of a launch
//   1/8    key rows that are made for a launch
//   1/16   running sums of labels
//   1/16   stays free
//
// Each is capped. One term or label run that is larger than its share still goes through while the rest leaves room.
#include "cuda/covariance/plan.h"

#include <algorithm>

#include "abi.h"
#include "cuda/rows/keys/key_rows.h"
#include "cuda/rows/read_rows.h"
#include "cuda/rows/slices.h"
#include "cuda/runtime/memory.h"

namespace qkspace {
namespace {

// Partial sums of a launch, and key rows that are made for it: enough for many blocks a multiprocessor.
constexpr size_t kMostPartial = size_t{512} << 20, kMostKeyRows = size_t{512} << 20;
constexpr size_t kMostLabelSums = size_t{512} << 20;
// Rows of a chunk: enough for launches that are worth their while, where no row is brought twice; where rows of
// earlier chunks go, the more a chunk has, the fewer are brought again.
constexpr size_t kRowsThatStay = size_t{64} << 20, kRowsThatGo = size_t{1} << 30;
// Indices of a chunk: some 300,000 pairs, so that a launch does not keep `cancel` waiting.
constexpr size_t kMostIndices = size_t{16} << 20;

void releaseAbove(DeviceBuffer& buffer, size_t bytes) {
  if (buffer.bytes() > bytes) {
    buffer.release();
  }
}

// Bytes of both sides' key rows of one pair.
size_t keyRowBytes(const CovarianceShape& shape) {
  return 2 * sizeof(float) * static_cast<size_t>(shape.kvHeads) * static_cast<size_t>(shape.d);
}

int64_t longestOf(const CovariancePlan& plan) {
  int64_t longest = 1;
  for (const std::vector<Slice>* slices : {&plan.terms, &plan.labels}) {
    for (const Slice& slice : *slices) {
      longest = std::max<int64_t>(longest, slice.to - slice.from);
    }
  }
  return longest;
}

// Pairs of the largest launch for which key rows are made.
int64_t pairsMade(const CovariancePlan& plan, const PreparedBatch& b) {
  int64_t pairs = 0;
  if (plan.made[0] || plan.made[1]) {
    pairs = termsOf(b);
  }
  for (int64_t r = 0; r < runsOf(b); r++) {
    pairs += b.runs[r].termCount;
  }
  return std::min(pairs, plan.mostPairs);
}

// What the device's memory has for each purpose.
struct Shares {
  size_t rows, indices, partial, keyRows, labelSums;
};

Shares divideMemory(const Device& device, CovarianceWorkspace& workspace) {
  const size_t free = std::min(device.budget.limit, device.budget.available() + workspace.workingBytes());
  const Shares shares{free / 2, std::min(kMostIndices, free / 16), std::min(kMostPartial, free / 8),
                      std::min(kMostKeyRows, free / 8), std::min(kMostLabelSums, free / 16)};
  // Of batches that had more.
  for (CovarianceWorkspace::ChunkBuffers& buffers : workspace.chunkBuffers) {
    releaseAbove(buffers.indices, shares.indices);
  }
  releaseAbove(workspace.partial, shares.partial);
  releaseAbove(workspace.keyRows, shares.keyRows);
  releaseAbove(workspace.labelSums, shares.labelSums);
  return shares;
}

}  // namespace

CovariancePlan planCovariance(const PreparedBatch& b, const CovarianceShape& shape, const BatchRows& q,
                              const BatchRows& k, Device& device, Pool& pool, CovarianceWorkspace& workspace) {
  CovariancePlan plan;
  plan.forms = formsOf(b, pool);
  const bool direct = plan.forms.direct[0] && plan.forms.direct[1] && plan.forms.unitQueries;
  plan.termKernel = pairKernelFor(device, b.q.dtype, b.k.dtype, shape.d, direct);
  plan.labelKernel = pairKernelFor(device, b.q.dtype, QKS_F32, shape.d, false);
  for (int s = 0; s < 2; s++) {
    plan.made[s] = !plan.forms.direct[s] || !readsKeysOf(plan.termKernel, b.k.dtype);
  }
  plan.terms = slicesOfTerms(b.start, b.contrasts, 0, termsOf(b), mostSliceRows(plan.termKernel));
  plan.labels = slicesOfRuns(b.runs, 0, runsOf(b), mostSliceRows(plan.labelKernel));

  const Shares shares = divideMemory(device, workspace);
  const size_t blockBytes = static_cast<size_t>(blockOffset(1, 0, shape.heads, 0, shape.d)) * sizeof(float);
  for (int64_t r = 0; r < runsOf(b); r++) {
    plan.mostLabels = std::max(plan.mostLabels, b.runs[r].labels);
  }
  auto most = [](size_t share, size_t each) {
    return static_cast<int64_t>(std::max<size_t>(1, std::min<size_t>(65535, share / std::max<size_t>(1, each))));
  };
  const size_t sums = static_cast<size_t>(runningSums(shape.kvHeads, shape.d, plan.mostLabels)) * sizeof(double);
  plan.mostSlices = most(shares.partial, blockBytes);
  plan.mostLabelSlices = std::min(plan.mostSlices, most(shares.labelSums, sums));
  plan.mostPairs = std::max(longestOf(plan), static_cast<int64_t>(shares.keyRows / keyRowBytes(shape)));

  const MostRows rows(b);
  plan.keysAt = q.resident() ? 0 : aligned(static_cast<size_t>(rows.q) * q.rowBytes());
  const size_t all = plan.keysAt + (k.resident() ? 0 : static_cast<size_t>(rows.k) * k.rowBytes());
  const bool stay = all <= shares.rows;
  const size_t chunkRows = std::min(kRowsThatGo, shares.rows / 2);
  plan.limits = {stay ? kRowsThatStay : chunkRows - std::min(kAlignment, chunkRows), shares.indices, stay};

  auto &first = workspace.chunkBuffers[0].rows, &second = workspace.chunkBuffers[1].rows;
  if (stay) {
    releaseAbove(second, shares.rows - all);
    releaseAbove(first, shares.rows - second.bytes());
    workspace.reserveRows(device, workspace.chunkBuffers[0], all);
  } else {
    for (CovarianceWorkspace::ChunkBuffers& buffers : workspace.chunkBuffers) {
      releaseAbove(buffers.rows, shares.rows / 2);
    }
    for (CovarianceWorkspace::ChunkBuffers& buffers : workspace.chunkBuffers) {
      workspace.reserveRows(device, buffers, chunkRows);
    }
  }
  const int64_t termSlices = static_cast<int64_t>(plan.terms.size());
  const int64_t labelSlices = static_cast<int64_t>(plan.labels.size());
  const int64_t together = std::max(std::min(termSlices, plan.mostSlices), std::min(labelSlices, plan.mostLabelSlices));
  if (device.plain) {
    return plan;
  }
  workspace.partial.reserve(static_cast<size_t>(together) * blockBytes, "partial sums");
  workspace.keyRows.reserve(static_cast<size_t>(pairsMade(plan, b)) * keyRowBytes(shape), "sums of keys");
  workspace.labelSums.reserve(static_cast<size_t>(std::min(labelSlices, plan.mostLabelSlices)) * sums,
                              "running sums of labels");
  return plan;
}

}  // namespace qkspace
