#include "cuda/covariance/chunk_sums.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/status.h"
#include "cuda/covariance/waves.h"
#include "cuda/products/labels.h"
#include "cuda/products/pairs16.h"
#include "cuda/products/sums.h"
#include "cuda/products/terms.h"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/device_terms.cuh"
#include "cuda/rows/sent_batch.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

// A chunk on the device, once device.copies has brought it there.
struct BatchSums::SentChunk {
  DeviceRows q, k;
  DeviceTerms sides[2];
  DeviceLabels labels;
  const char* arrays;  // in which waves have their places
  const Slice *termSlices, *labelSlices;
  std::vector<Wave> termWaves, labelWaves;
};

void BatchSums::addAll() {
  Chunks chunks(batch, plan.terms, plan.labels, plan.limits, q, k);
  Chunk chunk;
  for (int turn = 0; chunks.next(chunk); turn ^= 1) {
    stopIfCancelled(cancel);
    CovarianceWorkspace::ChunkBuffers& buffers = workspace.chunkBuffers[turn];
    const SentChunk sent = send(chunk, buffers);
    if (exactly) {
      sumExactly(chunk, sent);
    } else {
      sumOnTensorCores(sent);
    }
    check(cudaEventRecord(buffers.summed, device.stream), "recording an event");
  }
}

BatchSums::SentChunk BatchSums::send(const Chunk& chunk, CovarianceWorkspace::ChunkBuffers& buffers) {
  check(cudaEventSynchronize(buffers.indicesSent), "copying to the device");
  Blob blob(buffers.sentIndices);
  const SentTerms terms(batch, chunk.termFrom, chunk.termTo, q, k, transfer.pool(), blob);
  const SentLabels labels(batch, chunk.runFrom, chunk.runTo, q, k, blob);
  const size_t termSlicesAt = blob.add(chunk.terms), labelSlicesAt = blob.add(chunk.labels);
  std::vector<Wave> termWaves = wavesOf(chunk.terms, plan.mostSlices, blob);
  std::vector<Wave> labelWaves = wavesOf(chunk.labels, plan.mostLabelSlices, blob);
  if (blob.bytes() > buffers.indices.bytes()) {
    device.stream.finish("summing a batch");
    buffers.indices.reserve(std::max(blob.bytes(), std::min(plan.limits.indices, 2 * blob.bytes())),
                            "the batch's indices");
  }
  const size_t keysAt = plan.limits.rowsStay ? plan.keysAt : aligned(q.bytesBrought());
  CovarianceWorkspace::ChunkBuffers& rows = plan.limits.rowsStay ? workspace.chunkBuffers[0] : buffers;
  if (!plan.limits.rowsStay) {
    workspace.reserveRows(device, rows, keysAt + k.bytesBrought());
  }
  char* const rowsAt = rows.rows.get<char>();

  // The chunk before the last was summed from the same buffers.
  check(cudaStreamWaitEvent(device.copies, buffers.summed, 0), "waiting for an event");
  char* const arrays = buffers.indices.get<char>();
  transfer.pinned(buffers.sentIndices.get<char>(), blob.bytes(), arrays);
  check(cudaEventRecord(buffers.indicesSent, device.copies), "recording an event");
  auto sendRows = [&](const BatchRows& from, char* to) {
    if (from.resident()) {
      return;
    }
    const std::vector<int32_t>& brought = from.brought();
    transfer.rows(from.view(), from.heads(), from.d(), brought.data(), static_cast<int64_t>(brought.size()),
                  to + static_cast<size_t>(from.firstBrought()) * from.rowBytes(), cancel);
  };
  sendRows(q, rowsAt);
  sendRows(k, rowsAt + keysAt);
  follow(device.stream, device.copies, buffers.arrived);
  return {q.at(rowsAt),
          k.at(rowsAt + keysAt),
          {terms.at(arrays, 0), terms.at(arrays, 1)},
          labels.at(arrays),
          arrays,
          reinterpret_cast<const Slice*>(arrays + termSlicesAt),
          reinterpret_cast<const Slice*>(arrays + labelSlicesAt),
          std::move(termWaves),
          std::move(labelWaves)};
}

void BatchSums::sumOnTensorCores(const SentChunk& sent) {
  float* partial = workspace.partial.get<float>();
  uint32_t* flags = workspace.flags.get<uint32_t>();
  auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(sent.arrays + at); };
  auto each = [&](const std::vector<Wave>& waves, const Slice* slices, auto&& launchSums) {
    for (const Wave& wave : waves) {
      stopIfCancelled(cancel);
      const Stopwatch::Lap lap(device.arithmetic, device.stream);
      launchSums(slices + wave.from, wave.to - wave.from);
      addPartial(device.stream, shape, partial, ints(wave.contrastAt), ints(wave.firstAt), wave.contrasts, sums);
    }
  };
  each(sent.termWaves, sent.termSlices, [&](const Slice* slices, int32_t count) {
    const auto sumSlices = plan.pairs16 ? sumPairs16 : sumTerms;
    sumSlices(device.stream, shape, sent.q, sent.k, sent.sides, slices, count, partial, flags);
  });
  each(sent.labelWaves, sent.labelSlices, [&](const Slice* slices, int32_t count) {
    sumLabels(device.stream, shape, sent.q, sent.k, sent.labels, slices, count, plan.mostLabels,
              workspace.labelSums.get<double>(), partial, flags);
  });
}

// Slow: a few slices at a time are waited for, so that it can be stopped.
void BatchSums::sumExactly(const Chunk& chunk, const SentChunk& sent) {
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
  each(chunk.terms, sent.termSlices, [&](const Slice* slices, int32_t count) {
    sumTermsExactly(device.stream, shape, sent.q, sent.k, sent.sides, slices, count, sums);
  });
  each(chunk.labels, sent.labelSlices, [&](const Slice* slices, int32_t count) {
    sumLabelsExactly(device.stream, shape, sent.q, sent.k, sent.labels, slices, count, sums);
  });
}

}  // namespace qkspace
