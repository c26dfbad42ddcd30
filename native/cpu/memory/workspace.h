// Room to work in, kept from call to call by a context (which does one call at a time): taking fresh memory
// for every call would cost more than small calls do.
#pragma once

#include <vector>

#include "common/batch.h"
#include "cpu/memory/buffer.h"

namespace qkspace {

struct Workspace {
  std::vector<Buffer> scratch;  // one a thread
  Buffer staged;                // sums of a batch, before they are added to those of all batches
  Batch batch;

  explicit Workspace(int threads) : scratch(static_cast<size_t>(threads)) {}

  // Called when a call is over: what one large batch needed is not held for good.
  void settle() {
    constexpr size_t kKept = size_t{32} << 20;
    if (staged.bytes() > kKept) {
      staged.release();
    }
    for (Buffer& buffer : scratch) {
      if (buffer.bytes() > kKept) {
        buffer.release();
      }
    }
    if (batch.bytes() > kKept) {
      batch = Batch();
    }
  }
};

}  // namespace qkspace
