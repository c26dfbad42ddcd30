#include "cuda/rows/chunks.h"

namespace qkspace {
namespace {

// What a term, a key of one and a label term take among a chunk's indices (sent_batch.h), both sides.
constexpr size_t kTermBytes = 40, kKeyBytes = 8, kLabelTermBytes = 32;

}  // namespace

void Chunks::goBack(const Mark& mark) {
  q_.takeBack(mark.q);
  k_.takeBack(mark.k);
  indices_ = mark.indices;
}

void Chunks::bringTerm(int64_t at) {
  const int32_t t = batch_.order[at];
  for (const TermSide& side : batch_.side) {
    q_.bring(side.query[t]);
    for (int32_t j = side.offsets[t]; j < side.offsets[t + 1]; j++) {
      k_.bring(side.keys[j]);
    }
    indices_ += static_cast<size_t>(side.offsets[t + 1] - side.offsets[t]) * kKeyBytes;
  }
  indices_ += kTermBytes;
}

void Chunks::bringRun(int64_t at) {
  const LabelRun& run = batch_.runs[at];
  if (run.termCount == 0) {
    return;
  }
  for (int64_t i = 0; i < run.termCount; i++) {
    q_.bring(run.terms[i].queryRow);
  }
  const int64_t keys = run.terms[run.termCount - 1].keysBefore;
  for (int64_t j = 0; j < keys; j++) {
    if (run.keyLabels[j] >= 0) {
      k_.bring(run.keyRows[j]);
    }
  }
  indices_ += static_cast<size_t>(run.termCount) * kLabelTermBytes + static_cast<size_t>(keys) * kKeyBytes;
}

// Of terms [from, to) in order of contrast, where no row has to be brought.
size_t Chunks::indicesOf(int64_t from, int64_t to) const {
  const int64_t first = batch_.order[from], last = batch_.order[to - 1];
  size_t keys = 0;
  for (const TermSide& side : batch_.side) {
    if (last - first == to - 1 - from) {
      // They follow each other: terms of a contrast ascend.
      keys += static_cast<size_t>(side.offsets[last + 1] - side.offsets[first]);
      continue;
    }
    for (int64_t at = from; at < to; at++) {
      keys += static_cast<size_t>(side.offsets[batch_.order[at] + 1] - side.offsets[batch_.order[at]]);
    }
  }
  return keys * kKeyBytes + static_cast<size_t>(to - from) * kTermBytes;
}

bool Chunks::takeTerms(Chunk& chunk) {
  Slice& slice = terms_[nextTerms_];
  if (q_.resident() && k_.resident()) {
    const size_t more = indicesOf(slice.from, slice.to);
    if (indices_ + more <= limits_.indices || chunk.terms.empty()) {
      indices_ += more;
      takeSlice(chunk, slice.to);
      return true;
    }
    return false;
  }
  const Mark before = mark();
  const bool empty = chunk.terms.empty();
  int32_t to = slice.from;
  for (; to < slice.to; to++) {
    const Mark beforeTerm = mark();
    bringTerm(to);
    if (!tooMuch()) {
      continue;
    }
    if (!empty) {
      goBack(before);
      return false;
    }
    if (to > slice.from) {
      goBack(beforeTerm);
    } else {
      to++;
    }
    break;
  }
  takeSlice(chunk, to);
  return true;
}

// The next slice up to term `to`.
void Chunks::takeSlice(Chunk& chunk, int32_t to) {
  Slice& slice = terms_[nextTerms_];
  if (chunk.terms.empty()) {
    chunk.termFrom = slice.from;
  }
  const int32_t first = static_cast<int32_t>(chunk.termFrom);
  chunk.terms.push_back({slice.contrast, slice.run, slice.from - first, to - first});
  chunk.termTo = to;
  slice.from = to;
  if (slice.from == slice.to) {
    nextTerms_++;
  }
}

bool Chunks::takeRun(Chunk& chunk) {
  const int32_t run = labels_[nextLabels_].run;
  const Mark before = mark();
  bringRun(run);
  if (tooMuch() && !(chunk.terms.empty() && chunk.labels.empty())) {
    goBack(before);
    return false;
  }
  if (chunk.labels.empty()) {
    chunk.runFrom = run;
  }
  chunk.runTo = run + 1;
  for (; nextLabels_ < labels_.size() && labels_[nextLabels_].run == run; nextLabels_++) {
    const Slice& slice = labels_[nextLabels_];
    chunk.labels.push_back({slice.contrast, run - static_cast<int32_t>(chunk.runFrom), slice.from, slice.to});
  }
  return true;
}

bool Chunks::next(Chunk& chunk) {
  chunk = Chunk();
  indices_ = 0;
  if (limits_.rowsStay) {
    q_.keep();
    k_.keep();
  } else {
    q_.forget();
    k_.forget();
  }
  while (nextTerms_ < terms_.size() && !enough()) {
    if (!takeTerms(chunk)) {
      return true;
    }
  }
  while (nextTerms_ == terms_.size() && nextLabels_ < labels_.size() && !enough()) {
    if (!takeRun(chunk)) {
      return true;
    }
  }
  return !chunk.terms.empty() || !chunk.labels.empty();
}

}  // namespace qkspace
