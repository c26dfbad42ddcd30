// What the limit of the device's memory leaves beside the sums, resident tensors and the like is divided so:
//
//   1/2    rows: all that the batch can read, each brought once, if they fit; otherwise 1/4 for each of two chunks
//   2/16   indices of two chunks
//   1/8    partial sums of a launch
//   1/8    running sums of labels
//   1/8    stays free
//
// Each is capped. One term or label run that is larger than its share still goes through while the rest leaves room.
#include "cuda/covariance/plan.h"

#include <algorithm>

#include "abi.h"
#include "common/blocks.h"
#include "cuda/products/labels.h"
#include "cuda/rows/read_rows.h"
#include "cuda/rows/slices.h"
#include "cuda/runtime/memory.h"

namespace qkspace {
namespace {

// Partial sums of a launch take at most this, so that they stay near the cache that their sum is read from.
constexpr size_t kMostPartial = size_t{256} << 20;
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

// Whether every set of the batch's explicit terms is one key and every weight 1.
bool onlyPairs(const PreparedBatch& b, Pool& pool) {
  if (b.side[0].keyWeights || b.side[1].keyWeights) {
    return false;
  }
  return Blocks(pool, 0, b.start[b.contrasts]).first([&](int64_t t) {
    for (const TermSide& side : b.side) {
      if (side.offsets[t + 1] - side.offsets[t] != 1 || side.keyScale[t] != 1 || side.queryScale[t] != 1) {
        return true;
      }
    }
    return false;
  }) < 0;
}

// What the device's memory has for each purpose.
struct Shares {
  size_t rows, indices, partial, labelSums;
};

Shares divideMemory(const Device& device, CovarianceWorkspace& workspace) {
  const size_t free = std::min(device.budget.limit, device.budget.available() + workspace.workingBytes());
  const Shares shares{free / 2, std::min(kMostIndices, free / 16), std::min(kMostPartial, free / 8),
                      std::min(kMostLabelSums, free / 8)};
  // Of batches that had more.
  for (CovarianceWorkspace::ChunkBuffers& buffers : workspace.chunkBuffers) {
    releaseAbove(buffers.indices, shares.indices);
  }
  releaseAbove(workspace.partial, shares.partial);
  releaseAbove(workspace.labelSums, shares.labelSums);
  return shares;
}

}  // namespace

CovariancePlan planCovariance(const PreparedBatch& b, const CovarianceShape& shape, const BatchRows& q,
                              const BatchRows& k, Device& device, Pool& pool, CovarianceWorkspace& workspace) {
  CovariancePlan plan;
  plan.pairs16 =
      !device.plain && b.q.dtype != QKS_F32 && b.q.dtype == b.k.dtype && shape.d % 8 == 0 && onlyPairs(b, pool);
  const int64_t tiles = 2 * shape.heads * static_cast<int64_t>(outputTiles(shape.d));
  plan.terms = slicesOfTerms(b.start, b.contrasts, 0, termsOf(b), tiles, plan.pairs16 ? kPairSliceRows : kSliceRows);
  plan.labels = slicesOfRuns(b.runs, 0, runsOf(b), tiles, kSliceRows);

  const Shares shares = divideMemory(device, workspace);
  const size_t blockBytes = static_cast<size_t>(blockOffset(1, 0, shape.heads, 0, shape.d)) * sizeof(float);
  for (int64_t r = 0; r < runsOf(b); r++) {
    plan.mostLabels = std::max(plan.mostLabels, b.runs[r].labels);
  }
  auto most = [](size_t share, size_t each) {
    return static_cast<int64_t>(std::max<size_t>(1, std::min<size_t>(65535, share / std::max<size_t>(1, each))));
  };
  const size_t runningSums = static_cast<size_t>(runningSumsOfLabels(shape, plan.mostLabels)) * sizeof(double);
  plan.mostSlices = most(shares.partial, blockBytes);
  plan.mostLabelSlices = std::min(plan.mostSlices, most(shares.labelSums, runningSums));

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
  if (!device.plain) {
    workspace.partial.reserve(static_cast<size_t>(together) * blockBytes, "partial sums");
    workspace.labelSums.reserve(static_cast<size_t>(std::min(labelSlices, plan.mostLabelSlices)) * runningSums,
                                "running sums of labels");
  }
  return plan;
}

}  // namespace qkspace
