// How a batch is cut into chunks, each of which is copied while the one before is summed.
//
// A chunk is a number of whole slices (slices.h), in their order, and slices depend on the batch alone. Sums of slices
// are added one by one, so the cut into chunks changes no bit of the result, with one exception: a slice whose rows
// (or indices) alone do not fit is cut. Single terms and label runs are never cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/rows/batch_rows.h"
#include "cuda/rows/device_terms.cuh"

namespace qkspace {

// Explicit terms [termFrom, termTo) in order of contrast and label runs [runFrom, runTo), with their slices, whose
// terms and runs are counted from the chunk's first.
struct Chunk {
  int64_t termFrom = 0, termTo = 0, runFrom = 0, runTo = 0;
  std::vector<Slice> terms, labels;
};

// Bytes that a chunk ends at.
struct ChunkLimits {
  size_t rows;     // that it brings; if rows stay, it ends with the slice that goes beyond
  size_t indices;  // of its terms and runs, about
  // Rows of earlier chunks stay on the device, where there is room for all: none is brought twice.
  bool rowsStay;
};

class Chunks {
 public:
  // Slices with terms and runs counted from the batch's first.
  Chunks(const PreparedBatch& batch, std::vector<Slice> terms, std::vector<Slice> labels, const ChunkLimits& limits,
         BatchRows& q, BatchRows& k)
      : batch_(batch), terms_(std::move(terms)), labels_(std::move(labels)), limits_(limits), q_(q), k_(k) {
    q_.forget();
    k_.forget();
  }

  // The next chunk; q and k then say which rows it brings and where all of its rows are. False when there is none.
  bool next(Chunk& chunk);

 private:
  struct Mark {
    size_t q, k, indices;
  };
  Mark mark() const { return {q_.brought().size(), k_.brought().size(), indices_}; }
  void goBack(const Mark&);
  bool enough() const { return q_.bytesBrought() + k_.bytesBrought() > limits_.rows || indices_ > limits_.indices; }
  bool tooMuch() const { return limits_.rowsStay ? indices_ > limits_.indices : enough(); }
  void bringTerm(int64_t at);
  void bringRun(int64_t at);
  size_t indicesOf(int64_t from, int64_t to) const;
  void takeSlice(Chunk& chunk, int32_t to);
  // Takes the next slice, or what fits of it into an empty chunk; false where the chunk is full.
  bool takeTerms(Chunk& chunk);
  bool takeRun(Chunk& chunk);

  const PreparedBatch& batch_;
  std::vector<Slice> terms_, labels_;
  const ChunkLimits limits_;
  BatchRows &q_, &k_;
  size_t nextTerms_ = 0, nextLabels_ = 0;
  size_t indices_ = 0;
};

}  // namespace qkspace
