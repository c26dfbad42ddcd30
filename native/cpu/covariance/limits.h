// How much memory a batch may take beside the master sums. TypeScript has the same numbers (CPU_MEMORY of
// lib/backend/addon-types.ts), to say before the first batch what accumulating will take.
#pragma once

#include <cstdint>

namespace qkspace {

// Bytes: above this a batch is checked in a pass of its own rather than summed beside the masters first.
constexpr double kMostStaged = 512.0 * 1024 * 1024;

// A batch of few heads and many terms is cut into parts, each summed on its own: into as many as make this many tasks
// together with the heads, which take no more bytes than this.
constexpr int64_t kMostTasks = 32;
constexpr double kMostSplit = 64.0 * 1024 * 1024;

}  // namespace qkspace
