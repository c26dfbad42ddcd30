// A chunk of a batch on its way to the device: its terms and labels as arrays, with rows as slots of the device's
// tensors, and the launches that sum it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/device.h"
#include "cuda/transfer.h"
#include "cuda/work.cuh"

namespace qkspace {

// Arrays that go to the device together: each gets a place, then all are copied at once.
class Blob {
 public:
  template <typename T>
  size_t add(const std::vector<T>& from) {
    return add(from.data(), from.size());
  }
  template <typename T>
  size_t add(const T* from, size_t count) {
    const size_t at = (bytes_.size() + 255) / 256 * 256;
    bytes_.resize(at + std::max<size_t>(1, count) * sizeof(T));
    if (count) std::memcpy(bytes_.data() + at, from, count * sizeof(T));
    return at;
  }
  const char* send(Transfer& transfer, DeviceBuffer& to) const {
    to.reserve(bytes_.size(), "the batch's indices");
    transfer.bytes(bytes_.data(), bytes_.size(), to.get<char>());
    return to.get<char>();
  }

 private:
  std::vector<char> bytes_;
};

// The chunk's explicit terms on the device.
struct SentTerms {
  size_t query[2], keyStart[2], keyCount[2], keys[2], keyWeights[2], keyScale[2], queryScale[2];
  bool weighted[2];
  bool pairs = true;  // every set one key, every weight 1

  template <typename Slot>
  SentTerms(const PreparedBatch& b, int64_t from, int64_t to, Slot&& qSlot, Slot&& kSlot, Blob& blob) {
    for (int s = 0; s < 2; s++) {
      const TermSide& side = b.side[s];
      std::vector<int32_t> queries, starts, counts, keyRows;
      std::vector<float> keyScales, queryScales, weights;
      weighted[s] = side.keyWeights != nullptr;
      const size_t count = static_cast<size_t>(to - from);
      for (auto* list : {&queries, &starts, &counts, &keyRows}) list->reserve(count);
      for (auto* list : {&keyScales, &queryScales}) list->reserve(count);
      for (int64_t i = from; i < to; i++) {
        const int32_t t = b.order[i];
        queries.push_back(qSlot(side.query[t]));
        starts.push_back(static_cast<int32_t>(keyRows.size()));
        counts.push_back(side.offsets[t + 1] - side.offsets[t]);
        keyScales.push_back(static_cast<float>(side.keyScale[t]));
        queryScales.push_back(static_cast<float>(side.queryScale[t]));
        for (int32_t j = side.offsets[t]; j < side.offsets[t + 1]; j++) {
          keyRows.push_back(kSlot(side.keys[j]));
          if (weighted[s]) weights.push_back(side.keyWeights[j]);
        }
        pairs = pairs && counts.back() == 1 && !weighted[s] && side.keyScale[t] == 1 && side.queryScale[t] == 1;
      }
      query[s] = blob.add(queries);
      keyStart[s] = blob.add(starts);
      keyCount[s] = blob.add(counts);
      keys[s] = blob.add(keyRows);
      keyScale[s] = blob.add(keyScales);
      queryScale[s] = blob.add(queryScales);
      keyWeights[s] = weighted[s] ? blob.add(weights) : 0;
    }
  }

  DeviceTerms at(const char* base, int s) const {
    auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(base + at); };
    auto floats = [&](size_t at) { return reinterpret_cast<const float*>(base + at); };
    return {ints(query[s]),
            ints(keyStart[s]),
            ints(keyCount[s]),
            ints(keys[s]),
            weighted[s] ? floats(keyWeights[s]) : nullptr,
            floats(keyScale[s]),
            floats(queryScale[s])};
  }
};

// The chunk's label runs on the device.
struct SentLabels {
  size_t runs, query, label, selfKey, keysBefore, scale[2], queryScale[2], keyRow, keyLabel;
  int32_t mostLabels = 1;

  template <typename Slot>
  SentLabels(const PreparedBatch& b, int64_t from, int64_t to, Slot&& qSlot, Slot&& kSlot, Blob& blob) {
    std::vector<DeviceRun> deviceRuns;
    std::vector<int32_t> queries, labels, own, before, keyRows, keyLabels;
    std::vector<float> scales[2], queryScales[2];
    const bool mean = b.estimator == QKS_PER_QUERY;
    for (int64_t r = from; r < to; r++) {
      const LabelRun& run = b.runs[r];
      deviceRuns.push_back({run.labels, static_cast<int32_t>(queries.size()), static_cast<int32_t>(keyRows.size())});
      mostLabels = std::max(mostLabels, run.labels);
      for (int64_t i = 0; i < run.termCount; i++) {
        const LabelTerm& term = run.terms[i];
        queries.push_back(qSlot(term.queryRow));
        labels.push_back(term.label);
        own.push_back(term.selfKey);
        before.push_back(term.keysBefore);
        const int32_t counts[2] = {term.posCount, term.negCount};
        for (int s = 0; s < 2; s++) {
          scales[s].push_back(mean ? static_cast<float>(1.0 / counts[s]) : 1.0f);
          queryScales[s].push_back(mean ? 1.0f : static_cast<float>(counts[s]));
        }
      }
      const int64_t seen = run.termCount > 0 ? run.terms[run.termCount - 1].keysBefore : 0;
      for (int64_t j = 0; j < seen; j++) {
        keyLabels.push_back(run.keyLabels[j]);
        keyRows.push_back(run.keyLabels[j] < 0 ? 0 : kSlot(run.keyRows[j]));
      }
    }
    runs = blob.add(deviceRuns);
    query = blob.add(queries);
    label = blob.add(labels);
    selfKey = blob.add(own);
    keysBefore = blob.add(before);
    for (int s = 0; s < 2; s++) {
      scale[s] = blob.add(scales[s]);
      queryScale[s] = blob.add(queryScales[s]);
    }
    keyRow = blob.add(keyRows);
    keyLabel = blob.add(keyLabels);
  }

  DeviceLabels at(const char* base) const {
    auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(base + at); };
    auto floats = [&](size_t at) { return reinterpret_cast<const float*>(base + at); };
    return {reinterpret_cast<const DeviceRun*>(base + runs),
            ints(query),
            ints(label),
            ints(selfKey),
            ints(keysBefore),
            floats(scale[0]),
            floats(scale[1]),
            floats(queryScale[0]),
            floats(queryScale[1]),
            ints(keyRow),
            ints(keyLabel)};
  }
};

// Slices that one launch sums: [from, to) of all, and the contrasts that they belong to.
struct Wave {
  int32_t from, to;
  int32_t contrasts;          // how many
  size_t contrastAt, firstAt;  // in the blob
};

inline std::vector<Wave> wavesOf(const std::vector<Slice>& slices, int64_t most, Blob& blob) {
  std::vector<Wave> waves;
  const int32_t count = static_cast<int32_t>(slices.size());
  for (int32_t from = 0; from < count;) {
    const int32_t to = static_cast<int32_t>(std::min<int64_t>(count, from + most));
    std::vector<int32_t> contrasts, first;
    for (int32_t s = from; s < to; s++)
      if (s == from || slices[static_cast<size_t>(s)].contrast != slices[static_cast<size_t>(s) - 1].contrast) {
        contrasts.push_back(slices[static_cast<size_t>(s)].contrast);
        first.push_back(s - from);
      }
    const int32_t kinds = static_cast<int32_t>(contrasts.size());
    first.push_back(to - from);
    const size_t contrastAt = blob.add(contrasts);
    waves.push_back({from, to, kinds, contrastAt, blob.add(first)});
    from = to;
  }
  return waves;
}

}  // namespace qkspace
