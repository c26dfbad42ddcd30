// How a call's rows are divided, and which entries its draws choose: made once, shared by all heads and tiles.
//
// Strips hold as many rows as are packed together. Units are cut where a strip ends; a strip's units stand in passes of
// kPassUnits, the last padded with nothing. Neither depends on the draws or the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"
#include "common/pool.h"
#include "cpu/flips/task.h"

namespace qkspace {

class FlipsDivision {
 public:
  FlipsDivision(const qks_flips_request& request, int32_t d);

  const std::vector<FlipSlot>& slots() const { return slots_; }
  const std::vector<FlipStrip>& strips() const { return strips_; }
  int64_t passes() const { return static_cast<int64_t>(slots_.size()) / kPassUnits; }
  int32_t stripRows() const { return stripRows_; }

  // out [passes, draws, kGroups] of draws from `first` on, which is a multiple of 32.
  void patterns(const qks_flips_request& request, Pool& pool, int64_t first, int64_t draws, uint16_t* out) const;

 private:
  std::vector<FlipSlot> slots_;
  std::vector<FlipStrip> strips_;
  int32_t stripRows_ = 0;
};

}  // namespace qkspace
