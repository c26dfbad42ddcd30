#include "cuda/rows/read_rows.h"

#include <algorithm>
#include <cstddef>

namespace qkspace {
namespace {

// The rows that are marked.
std::vector<int32_t> listed(const std::vector<uint8_t>& read) {
  std::vector<int32_t> rows;
  for (size_t row = 0; row < read.size(); row++) {
    if (read[row]) {
      rows.push_back(static_cast<int32_t>(row));
    }
  }
  return rows;
}

}  // namespace

MostRows::MostRows(const PreparedBatch& b) : q(2 * termsOf(b)), k(0) {
  if (termsOf(b) > 0) {
    for (const TermSide& side : b.side) {
      k += side.offsets[termsOf(b)];
    }
  }
  for (int64_t r = 0; r < runsOf(b); r++) {
    q += b.runs[r].termCount;
    k += b.runs[r].keyCount;
  }
  q = std::min(q, b.q.rows);
  k = std::min(k, b.k.rows);
}

std::vector<int32_t> queriesRead(const PreparedBatch& b) {
  std::vector<uint8_t> read(static_cast<size_t>(b.q.rows), 0);
  for (int64_t t = 0; t < termsOf(b); t++) {
    for (const TermSide& side : b.side) {
      read[static_cast<size_t>(side.query[t])] = 1;
    }
  }
  for (int64_t r = 0; r < runsOf(b); r++) {
    for (int64_t i = 0; i < b.runs[r].termCount; i++) {
      read[static_cast<size_t>(b.runs[r].terms[i].queryRow)] = 1;
    }
  }
  return listed(read);
}

std::vector<int32_t> keysRead(const PreparedBatch& b) {
  std::vector<uint8_t> read(static_cast<size_t>(b.k.rows), 0);
  if (termsOf(b) > 0) {
    for (const TermSide& side : b.side) {
      for (int32_t j = 0; j < side.offsets[termsOf(b)]; j++) {
        read[static_cast<size_t>(side.keys[j])] = 1;
      }
    }
  }
  for (int64_t r = 0; r < runsOf(b); r++) {
    const LabelRun& run = b.runs[r];
    const int64_t keys = run.termCount > 0 ? run.terms[run.termCount - 1].keysBefore : 0;
    for (int64_t j = 0; j < keys; j++) {
      if (run.keyLabels[j] >= 0) {
        read[static_cast<size_t>(run.keyRows[j])] = 1;
      }
    }
  }
  return listed(read);
}

}  // namespace qkspace
