#include "cuda/covariance/chunk_sums.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

void BatchSums::addAll() {
  Chunks chunks(batch, plan.terms, plan.labels, plan.limits, q, k);
  Chunk chunk;
  for (int turn = 0; chunks.next(chunk); turn ^= 1) {
    stopIfCancelled(cancel);
    add(chunk, workspace.chunkBuffers[turn]);
  }
}

void BatchSums::add(const Chunk& chunk, CovarianceWorkspace::ChunkBuffers& buffers) {
  check(cudaEventSynchronize(buffers.indicesSent), "copying to the device");
  Blob blob(buffers.sentIndices);
  const SentTerms terms(batch, chunk.termFrom, chunk.termTo, q, k, transfer.pool(), blob);
  const SentLabels labels(batch, chunk.runFrom, chunk.runTo, q, k, blob);
  const size_t termSlicesAt = blob.add(chunk.terms), labelSlicesAt = blob.add(chunk.labels);
  const std::vector<Wave> termWaves = wavesOf(chunk.terms, plan.mostSlices, blob);
  const std::vector<Wave> labelWaves = wavesOf(chunk.labels, plan.mostLabelSlices, blob);
  if (blob.bytes() > buffers.indices.bytes()) {
    device.stream.finish("summing a batch");
    buffers.indices.reserve(std::max(blob.bytes(), std::min(plan.limits.indices, 2 * blob.bytes())),
                          "the batch's indices");
  }
  const size_t keysAt = plan.limits.rowsStay ? plan.keysAt : aligned(q.bytesBrought());
  CovarianceWorkspace::ChunkBuffers& rows = plan.limits.rowsStay ? workspace.chunkBuffers[0] : buffers;
  if (!plan.limits.rowsStay) workspace.reserveRows(device, rows, keysAt + k.bytesBrought());
  char* const rowsAt = rows.rows.get<char>();

  // The chunk before the last was summed from the same buffers.
  check(cudaStreamWaitEvent(device.copies, buffers.summed, 0), "waiting for an event");
  const char* base = buffers.indices.get<char>();
  transfer.pinned(buffers.sentIndices.get<char>(), blob.bytes(), buffers.indices.get<char>());
  check(cudaEventRecord(buffers.indicesSent, device.copies), "recording an event");
  auto send = [&](const BatchRows& from, char* to) {
    transfer.rows(from.view(), from.heads(), from.d(), from.brought().data(),
                   static_cast<int64_t>(from.brought().size()),
                   to + static_cast<size_t>(from.firstBrought()) * from.rowBytes(), cancel);
  };
  if (!q.resident()) send(q, rowsAt);
  if (!k.resident()) send(k, rowsAt + keysAt);
  follow(device.stream, device.copies, buffers.arrived);

  uint32_t* flags = workspace.flags.get<uint32_t>();
  const DeviceRows deviceQ = q.at(rowsAt), deviceK = k.at(rowsAt + keysAt);
  const DeviceTerms sides[2] = {terms.at(base, 0), terms.at(base, 1)};
  const DeviceLabels deviceLabels = labels.at(base);
  auto slicesAt = [&](size_t at) { return reinterpret_cast<const Slice*>(base + at); };
  auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(base + at); };
  float* partial = workspace.partial.get<float>();

  auto each = [&](const std::vector<Wave>& waves, size_t at, auto&& launchSums) {
    for (const Wave& wave : waves) {
      stopIfCancelled(cancel);
      const Stopwatch::Lap lap(device.arithmetic, device.stream);
      launchSums(slicesAt(at) + wave.from, wave.to - wave.from);
      addPartial(device.stream, shape, partial, ints(wave.contrastAt), ints(wave.firstAt), wave.contrasts, sums);
    }
  };
  // Slow: waited for, so that it can be stopped.
  auto eachSlowly = [&](const std::vector<Slice>& slices, size_t at, auto&& launchSums) {
    constexpr int32_t kTogether = 8;
    const int32_t count = static_cast<int32_t>(slices.size());
    for (int32_t from = 0; from < count; from += kTogether) {
      stopIfCancelled(cancel);
      {
        const Stopwatch::Lap lap(device.arithmetic, device.stream);
        launchSums(slicesAt(at) + from, std::min(kTogether, count - from));
      }
      device.stream.finish("summing a batch in f64");
    }
  };
  if (exactly) {
    eachSlowly(chunk.terms, termSlicesAt, [&](const Slice* slices, int32_t count) {
      sumTermsExactly(device.stream, shape, deviceQ, deviceK, sides, slices, count, sums);
    });
    eachSlowly(chunk.labels, labelSlicesAt, [&](const Slice* slices, int32_t count) {
      sumLabelsExactly(device.stream, shape, deviceQ, deviceK, deviceLabels, slices, count, sums);
    });
  } else {
    each(termWaves, termSlicesAt, [&](const Slice* slices, int32_t count) {
      (plan.pairs16 ? sumPairs16 : sumTerms)(device.stream, shape, deviceQ, deviceK, sides, slices, count, partial,
                                             flags);
    });
    each(labelWaves, labelSlicesAt, [&](const Slice* slices, int32_t count) {
      sumLabels(device.stream, shape, deviceQ, deviceK, deviceLabels, slices, count, plan.mostLabels,
                workspace.labelSums.get<double>(), partial, flags);
    });
  }
  check(cudaEventRecord(buffers.summed, device.stream), "recording an event");
}

}  // namespace qkspace
