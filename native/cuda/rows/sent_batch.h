// What goes to the device of a chunk beside its rows: its terms and labels as arrays, with rows as slots
// (batch_rows.h). Written where it is copied from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi.h"
#include "common/blocks.h"
#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/rows/batch_rows.h"
#include "cuda/rows/device_terms.cuh"
#include "cuda/runtime/memory.h"

namespace qkspace {

// Arrays in page-locked memory that are copied together.
class Blob {
 public:
  explicit Blob(PinnedBuffer& memory) : memory_(memory) {}

  // Room for an array; returns its place. Pointers to arrays before may change, places do not.
  template <typename T>
  size_t place(size_t count) {
    const size_t at = (bytes_ + 255) / 256 * 256, end = at + std::max<size_t>(1, count) * sizeof(T);
    if (end > memory_.bytes()) {
      memory_.reserve(std::max({kLeast, end, 2 * memory_.bytes()}), bytes_);
    }
    bytes_ = end;
    return at;
  }
  template <typename T>
  size_t add(const std::vector<T>& from) {
    const size_t at = place<T>(from.size());
    std::copy(from.begin(), from.end(), array<T>(at));
    return at;
  }
  template <typename T>
  T* array(size_t at) const {
    return reinterpret_cast<T*>(memory_.get<char>() + at);
  }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kLeast = size_t{1} << 20;
  PinnedBuffer& memory_;
  size_t bytes_ = 0;
};

// Which arrays of a side of explicit terms kernels read.
struct TermArrays {
  bool sets;     // all of DeviceTerms; otherwise only the row of one key a term
  bool weights;  // the queries' weights
};

// The chunk's explicit terms on the device.
struct SentTerms {
  size_t query[2], keyStart[2], keyCount[2], keys[2], keyWeights[2], keyScale[2], queryScale[2];
  bool weighted[2];
  TermArrays arrays[2];

  // `threads`: as Pool::run's limit.
  SentTerms(const PreparedBatch& b, int64_t from, int64_t to, const BatchRows& q, const BatchRows& k,
            const TermArrays (&wanted)[2], Pool& pool, int threads, Blob& blob)
      : arrays{wanted[0], wanted[1]} {
    const Blocks blocks(pool, threads, to - from, kTermsATask);
    for (int s = 0; s < 2; s++) {
      query[s] = blob.place<int32_t>(static_cast<size_t>(to - from));
      queryScale[s] = arrays[s].weights ? blob.place<float>(static_cast<size_t>(to - from)) : 0;
      weighted[s] = arrays[s].sets && b.side[s].keyWeights != nullptr;
      if (arrays[s].sets) {
        writeSets(b, s, from, to, k, blocks, blob);
      } else {
        keys[s] = blob.place<int32_t>(static_cast<size_t>(to - from));
      }
    }
    // All places are known now, and no array moves any more.
    for (int s = 0; s < 2; s++) {
      const TermSide& side = b.side[s];
      int32_t *queries = blob.array<int32_t>(query[s]), *keyRows = blob.array<int32_t>(keys[s]);
      float* scales = blob.array<float>(queryScale[s]);
      const bool sets = arrays[s].sets, weights = arrays[s].weights;
      blocks.each([&](int64_t, int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          const int32_t t = b.order[from + i];
          queries[i] = q.slot(side.query[t]);
          if (weights) {
            scales[i] = static_cast<float>(side.queryScale[t]);
          }
          if (!sets) {
            keyRows[i] = k.slot(side.keys[side.offsets[t]]);
          }
        }
      });
    }
  }

  DeviceTerms at(const char* base, int s) const {
    auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(base + at); };
    auto floats = [&](size_t at) { return reinterpret_cast<const float*>(base + at); };
    const bool sets = arrays[s].sets;
    return {ints(query[s]),
            sets ? ints(keyStart[s]) : nullptr,
            sets ? ints(keyCount[s]) : nullptr,
            ints(keys[s]),
            weighted[s] ? floats(keyWeights[s]) : nullptr,
            sets ? floats(keyScale[s]) : nullptr,
            arrays[s].weights ? floats(queryScale[s]) : nullptr};
  }

 private:
  static constexpr int64_t kTermsATask = 2048;

  void writeSets(const PreparedBatch& b, int s, int64_t from, int64_t to, const BatchRows& k, const Blocks& blocks,
                 Blob& blob) {
    const TermSide& side = b.side[s];
    auto each = [&](auto&& term) {
      blocks.each([&](int64_t block, int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          term(static_cast<size_t>(block), i, b.order[from + i]);
        }
      });
    };
    // Where the keys of each block's terms start.
    std::vector<int32_t> starts(static_cast<size_t>(blocks.blocks()) + 1, 0);
    each([&](size_t block, int64_t, int32_t t) { starts[block + 1] += side.offsets[t + 1] - side.offsets[t]; });
    for (size_t block = 1; block < starts.size(); block++) {
      starts[block] += starts[block - 1];
    }
    const size_t terms = static_cast<size_t>(to - from), all = static_cast<size_t>(starts.back());
    keyStart[s] = blob.place<int32_t>(terms);
    keyCount[s] = blob.place<int32_t>(terms);
    keyScale[s] = blob.place<float>(terms);
    keys[s] = blob.place<int32_t>(all);
    keyWeights[s] = weighted[s] ? blob.place<float>(all) : 0;
    int32_t *firsts = blob.array<int32_t>(keyStart[s]), *counts = blob.array<int32_t>(keyCount[s]);
    int32_t* keyRows = blob.array<int32_t>(keys[s]);
    float *scales = blob.array<float>(keyScale[s]), *weights = blob.array<float>(keyWeights[s]);
    each([&](size_t block, int64_t i, int32_t t) {
      int32_t& at = starts[block];
      firsts[i] = at;
      counts[i] = side.offsets[t + 1] - side.offsets[t];
      scales[i] = static_cast<float>(side.keyScale[t]);
      for (int32_t j = side.offsets[t]; j < side.offsets[t + 1]; j++, at++) {
        keyRows[at] = k.slot(side.keys[j]);
        if (weighted[s]) {
          weights[at] = side.keyWeights[j];
        }
      }
    });
  }
};

// The chunk's label runs on the device.
struct SentLabels {
  std::vector<DeviceRun> deviceRuns;
  size_t runs, query, label, selfKey, keysBefore, scale[2], queryScale[2], keyRow, keyLabel;

  SentLabels(const PreparedBatch& b, int64_t from, int64_t to, const BatchRows& q, const BatchRows& k, Blob& blob) {
    std::vector<int32_t> queries, labels, own, before, keyRows, keyLabels;
    std::vector<float> scales[2], queryScales[2];
    const bool mean = b.estimator == QKS_PER_QUERY;
    for (int64_t r = from; r < to; r++) {
      const LabelRun& run = b.runs[r];
      deviceRuns.push_back({run.labels, static_cast<int32_t>(queries.size()), static_cast<int32_t>(keyRows.size())});
      for (int64_t i = 0; i < run.termCount; i++) {
        const LabelTerm& term = run.terms[i];
        queries.push_back(q.slot(term.queryRow));
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
        keyRows.push_back(run.keyLabels[j] < 0 ? 0 : k.slot(run.keyRows[j]));
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

}  // namespace qkspace
