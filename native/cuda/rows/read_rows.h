// Which rows of queries and keys the terms and label runs of a batch read.
#pragma once

#include <cstdint>
#include <vector>

#include "common/prepared_batch.h"

namespace qkspace {

inline int64_t termsOf(const PreparedBatch& b) { return b.start[b.contrasts]; }
inline int64_t runsOf(const PreparedBatch& b) { return b.runStart[b.contrasts]; }

// No more rows than this are read: all that there are, or all that terms and runs name.
struct MostRows {
  int64_t q, k;
  explicit MostRows(const PreparedBatch& batch);
};

// Rows that are read, ascending.
std::vector<int32_t> queriesRead(const PreparedBatch& batch);
std::vector<int32_t> keysRead(const PreparedBatch& batch);

}  // namespace qkspace
