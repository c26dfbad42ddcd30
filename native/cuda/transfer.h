// Rows on their way to the device: strided in host memory, dense [rows, heads, d] there.
#pragma once

#include <cstdint>

#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/device.h"

namespace qkspace {

inline size_t elementSize(int32_t dtype) { return dtype == QKS_F32 ? 4 : 2; }

// Two page-locked buffers in turn: one is filled by the host's threads while the other is copied.
class Transfer {
 public:
  Transfer(Device& device, Pool& pool) : device_(device), pool_(pool) {}

  // Rows `wanted` [count] of the view, or its first `count` rows where that is null. Work that is launched in
  // device.stream afterwards finds them there. Failure QKS_E_ABORTED when cancelled.
  void rows(const RowView& view, int64_t heads, int64_t d, const int32_t* wanted, int64_t count, void* to,
            const qks_cancel* cancel);
  // Plain bytes; `from` may change after the call.
  void bytes(const void* from, size_t count, void* to);

 private:
  struct Half {
    PinnedBuffer memory;
    Event copied;
    bool busy = false;
  };
  Half& nextHalf(size_t bytes);
  void send(Half& half, void* to, size_t bytes);

  Device& device_;
  Pool& pool_;
  Half halves_[2];
  int turn_ = 0;
  Event done_, before_;
};

}  // namespace qkspace
