// Memory that decompositions work in.
#pragma once

#include <cstddef>

#include "cuda/runtime/memory.h"

namespace qkspace {

// Memory that decompositions use in turn.
struct SvdWorkspace final : Kept {
  DeviceBuffer raw[2], matrices, transposed, y, v, small, packed, scratch;
  PinnedBuffer answers;

  // Rows from which on a matrix is the whole device's (kernels/spread.cuh).
  int spreadFrom = 257;

  explicit SvdWorkspace(MemoryBudget& budget)
      : Kept(budget),
        raw{DeviceBuffer(budget), DeviceBuffer(budget)},
        matrices(budget),
        transposed(budget),
        y(budget),
        v(budget),
        small(budget),
        packed(budget),
        scratch(budget) {}
  size_t bytes() const override;
  void release() override;
};

}  // namespace qkspace
