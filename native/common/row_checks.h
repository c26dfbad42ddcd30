// Checks of row lists that explicit terms and label sequences share.
#pragma once

#include <cstdint>
#include <string>

#include "common/blocks.h"
#include "common/status.h"

namespace qkspace {

constexpr int64_t kMaxRows = INT32_MAX;

inline std::string str(int64_t x) { return std::to_string(x); }

// Throws a Failure that names the first row that is not one of `limit`.
inline void checkRows(const Blocks& blocks, const int32_t* rows, int64_t limit, const char* name) {
  const int64_t i = blocks.first([=](int64_t i) { return rows[i] < 0 || rows[i] >= limit; });
  if (i >= 0) {
    fail(QKS_E_RANGE,
         std::string(name) + "[" + str(i) + "] is " + str(rows[i]) + ", expected a row from 0 to " + str(limit - 1));
  }
}

}  // namespace qkspace
