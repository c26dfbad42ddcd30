#include "cuda/covariance/chunk_sums.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <utility>
#include <vector>

#include "common/status.h"
#include "cuda/covariance/planned_chunk.h"
#include "cuda/covariance/waves.h"
#include "cuda/products/pairs.h"
#include "cuda/products/sums.h"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"
#include "cuda/rows/keys/key_rows.h"
#include "cuda/rows/range/magnitudes.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

// A chunk on the device, once device.copies has brought it there.
struct BatchSums::SentChunk {
  DeviceRows q, k;
  DeviceTerms sides[2];
  DeviceLabels labels;
  const char* arrays;                                  // in which waves have their places
  const Slice *termSlices, *labelSlices, *labelPairs;  // as PlannedChunk's
};

void BatchSums::addAll() {
  Chunks chunks(batch, plan.terms, plan.labels, plan.limits, q, k);
  // The pool fills page-locked memory with rows meanwhile, unless there are none to be brought.
  const int threads = q.resident() && k.resident() ? 0 : 1;
  auto planNext = [&](int turn) -> std::optional<PlannedChunk> {
    device.use();
    Chunk chunk;
    if (!chunks.next(chunk)) {
      return std::nullopt;
    }
    CovarianceWorkspace::ChunkBuffers& buffers = workspace.chunkBuffers[turn];
    check(cudaEventSynchronize(buffers.indicesSent), "copying to the device");
    return planChunk(std::move(chunk), batch, plan, q, k, exactly.count > 0, transfer.pool(), threads,
                     buffers.sentIndices);
  };
  auto next = std::async(std::launch::deferred, planNext, 0);
  for (int turn = 0;; turn ^= 1) {
    const std::optional<PlannedChunk> planned = next.get();
    if (!planned) {
      return;
    }
    stopIfCancelled(cancel);
    next = std::async(std::launch::async, planNext, turn ^ 1);
    CovarianceWorkspace::ChunkBuffers& buffers = workspace.chunkBuffers[turn];
    const SentChunk sent = send(*planned, buffers);
    if (exactly.count > 0) {
      sumExactly(*planned, sent);
    } else {
      sumOnTensorCores(*planned, sent);
    }
    check(cudaEventRecord(buffers.summed, device.stream), "recording an event");
  }
}

BatchSums::SentChunk BatchSums::send(const PlannedChunk& planned, CovarianceWorkspace::ChunkBuffers& buffers) {
  if (planned.bytes > buffers.indices.bytes()) {
    device.stream.finish("summing a batch");
    buffers.indices.reserve(std::max(planned.bytes, std::min(plan.limits.indices, 2 * planned.bytes)),
                            "the batch's indices");
  }
  const size_t queryBytes = planned.q.rows.size() * q.rowBytes(), keyBytes = planned.k.rows.size() * k.rowBytes();
  const size_t keysAt = plan.limits.rowsStay ? plan.keysAt : aligned(queryBytes);
  CovarianceWorkspace::ChunkBuffers& rows = plan.limits.rowsStay ? workspace.chunkBuffers[0] : buffers;
  if (!plan.limits.rowsStay) {
    workspace.reserveRows(device, rows, keysAt + keyBytes);
  }
  char* const rowsAt = rows.rows.get<char>();

  // The chunk before the last was summed from the same buffers.
  check(cudaStreamWaitEvent(device.copies, buffers.summed, 0), "waiting for an event");
  char* const arrays = buffers.indices.get<char>();
  transfer.pinned(buffers.sentIndices.get<char>(), planned.bytes, arrays);
  check(cudaEventRecord(buffers.indicesSent, device.copies), "recording an event");
  auto sendRows = [&](BatchRows& from, const BroughtRows& brought, char* to) {
    if (!from.resident()) {
      transfer.rows(from.view(), from.heads(), from.d(), brought.rows.data(), static_cast<int64_t>(brought.rows.size()),
                    to + static_cast<size_t>(brought.first) * from.rowBytes(), from.travel, cancel);
    }
  };
  sendRows(q, planned.q, rowsAt);
  sendRows(k, planned.k, rowsAt + keysAt);
  follow(device.stream, device.copies, buffers.arrived);
  findMagnitudesOf(q, planned.q, rowsAt, workspace.magnitudes.get<uint32_t>());
  if (plan.readsKeys()) {
    findMagnitudesOf(k, planned.k, rowsAt + keysAt, keyMagnitudes());
  }
  return {q.at(rowsAt),
          k.at(rowsAt + keysAt),
          {planned.terms.at(arrays, 0), planned.terms.at(arrays, 1)},
          planned.labels.at(arrays),
          arrays,
          reinterpret_cast<const Slice*>(arrays + planned.termSlicesAt),
          reinterpret_cast<const Slice*>(arrays + planned.labelSlicesAt),
          reinterpret_cast<const Slice*>(arrays + planned.labelPairsAt)};
}

void BatchSums::findMagnitudesOf(const BatchRows& rows, const BroughtRows& brought, const char* at, uint32_t* largest) {
  // All finite numbers of f16 are safe.
  const bool safe = rows.view().dtype == QKS_F16 && !batch.allowNonFinite;
  if (exactly.count > 0 || rows.resident() || safe) {
    return;
  }
  const char* first = at + static_cast<size_t>(brought.first) * rows.rowBytes();
  findMagnitudes(device.stream, rows.at(first), static_cast<int64_t>(brought.rows.size()), largest);
}

void BatchSums::sumOnTensorCores(const PlannedChunk& planned, const SentChunk& sent) {
  for (const Wave& wave : planned.termWaves) {
    sumTermWave(sent, wave);
  }
  for (const Wave& wave : planned.labelWaves) {
    sumLabelWave(sent, wave);
  }
}

KeyRows BatchSums::keyRowsFor(const Wave& wave, int side) const {
  const int64_t numbers = static_cast<int64_t>(wave.pairs) * shape.kvHeads * shape.d;
  return {wave.firstPair, wave.pairs, workspace.keyRows.get<float>() + side * numbers, keyMagnitudes()};
}

void BatchSums::sumTermWave(const SentChunk& sent, const Wave& wave) {
  stopIfCancelled(cancel);
  const Stopwatch::Lap lap(device.arithmetic, device.stream);
  PairSide sides[2];
  for (int s = 0; s < 2; s++) {
    const DeviceTerms& terms = sent.sides[s];
    sides[s] = {terms.query, plan.forms.unitQueries ? nullptr : terms.queryScale, sent.k, terms.keys, 0};
    if (plan.made[s]) {
      const KeyRows to = keyRowsFor(wave, s);
      sumKeySets(device.stream, sent.k, terms, to);
      sides[s].k = to.rows(sent.k);
      sides[s].key = nullptr;
      sides[s].firstKey = wave.firstPair;
    }
  }
  sumPairsOf(sent, wave, plan.termKernel, sides, plan.forms.oneQuery, sent.termSlices);
}

void BatchSums::sumLabelWave(const SentChunk& sent, const Wave& wave) {
  stopIfCancelled(cancel);
  const Stopwatch::Lap lap(device.arithmetic, device.stream);
  const KeyRows to[2] = {keyRowsFor(wave, 0), keyRowsFor(wave, 1)};
  sumLabelledKeys(device.stream, sent.k, sent.labels, sent.labelSlices + wave.from, wave.to - wave.from,
                  plan.mostLabels, workspace.labelSums.get<double>(), to);
  // Means have weight 1 on both sides; sums have as many as there are keys.
  const bool means = batch.estimator == QKS_PER_QUERY;
  PairSide sides[2];
  for (int s = 0; s < 2; s++) {
    const float* scale = s == 0 ? sent.labels.positiveQueryScale : sent.labels.negativeQueryScale;
    sides[s] = {sent.labels.query, means ? nullptr : scale, to[s].rows(sent.k), nullptr, wave.firstPair};
  }
  sumPairsOf(sent, wave, plan.labelKernel, sides, means, sent.labelPairs);
}

void BatchSums::sumPairsOf(const SentChunk& sent, const Wave& wave, PairKernel kernel, const PairSide (&sides)[2],
                           bool oneQuery, const Slice* slices) {
  auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(sent.arrays + at); };
  float* const partial = workspace.partial.get<float>();
  sumPairs(device.stream, kernel, shape, {sent.q, {sides[0], sides[1]}}, oneQuery, slices + wave.from,
           wave.to - wave.from, partial);
  addPartial(device.stream, shape, partial, ints(wave.contrastAt), ints(wave.firstAt), wave.contrasts, sums);
}

// Slow: a few slices at a time are waited for, so that it can be stopped.
void BatchSums::sumExactly(const PlannedChunk& planned, const SentChunk& sent) {
  constexpr int32_t kTogether = 8;
  auto each = [&](const std::vector<Slice>& all, const Slice* slices, auto&& launchSums) {
    const int32_t count = static_cast<int32_t>(all.size());
    for (int32_t from = 0; from < count; from += kTogether) {
      stopIfCancelled(cancel);
      {
        const Stopwatch::Lap lap(device.arithmetic, device.stream);
        launchSums(slices + from, std::min(kTogether, count - from));
      }
      device.stream.finish("summing a batch in f64");
    }
  };
  each(planned.chunk.terms, sent.termSlices, [&](const Slice* slices, int32_t count) {
    sumTermsExactly(device.stream, shape, sent.q, sent.k, sent.sides, slices, count, exactly, sums);
  });
  each(planned.chunk.labels, sent.labelSlices, [&](const Slice* slices, int32_t count) {
    sumLabelsExactly(device.stream, shape, sent.q, sent.k, sent.labels, slices, count, exactly, sums);
  });
}

}  // namespace qkspace
