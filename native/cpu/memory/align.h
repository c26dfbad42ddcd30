// Offsets in scratch memory, rounded up to cache lines.
#pragma once

#include "cpu/vectors/before_target.h"

namespace qkspace {

static inline size_t alignUp(size_t x) { return (x + 63) & ~static_cast<size_t>(63); }

}  // namespace qkspace
