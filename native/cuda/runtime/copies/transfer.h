// Rows on their way to the device: strided in host memory, dense [rows, heads, d] there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi.h"
#include "common/pool.h"
#include "common/prepared_batch.h"
#include "cuda/runtime/copies/narrow.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stream.h"

namespace qkspace {

inline size_t elementSize(int32_t dtype) { return dtype == QKS_F32 ? 4 : 2; }

// Page-locked pieces in turn: all threads of the host fill one while those before it are copied. The host waits only
// where the piece that comes next is still being copied. Pieces are small enough to stay in the host's cache between
// being written and being copied.
class Transfer {
 public:
  Transfer(Device& device, Pool& pool) : device_(device), pool_(pool), narrow_(device.budget) {}

  // Puts into device.copies: rows `wanted` [count] of the view, or its first `count` rows where that is null. The
  // caller sees to it that `to` is free by then, and that nobody reads it before. `travel` is what the tensor's rows were
  // found to be so far (narrow.h). Failure QKS_E_ABORTED when cancelled.
  void rows(const RowView& view, int64_t heads, int64_t d, const int32_t* wanted, int64_t count, char* to,
            Travel& travel, const qks_cancel* cancel);
  // Plain bytes; `from` may change after the call. What is put into device.stream afterwards finds them.
  void bytes(const void* from, size_t count, void* to);
  // The same into device.copies and no more, as `rows`.
  void bytesBeside(const void* from, size_t count, void* to);
  // From page-locked memory, into device.copies as `rows`: `from` may change when the copy is done.
  void pinned(const void* from, size_t count, void* to);

  // Back to the host, beside what is put into device.stream after `ready` was recorded there. Returns when all has
  // arrived.
  void fetch(const void* from, size_t count, void* to, const Event& ready);

  Pool& pool() { return pool_; }

 private:
  struct Piece {
    PinnedBuffer memory;
    Event copied;
    bool busy = false;
  };
  // Rows [first, first + count) of those wanted, on their way into `memory`.
  struct RowPiece {
    const RowView& view;
    int64_t heads, d;
    const int32_t* wanted;
    int64_t first, count;

    int64_t row(int64_t i) const { return wanted ? wanted[first + i] : first + i; }
    int64_t numbers() const { return heads * d; }  // of a row
  };
  void fill(const RowPiece& rows, char* memory);
  bool fillNarrow(const RowPiece& rows, Travel travel, uint16_t* memory);
  bool canNarrow(const RowView& view);
  Piece& nextPiece(size_t bytes);
  void send(Piece& piece, size_t bytes, char* to);
  void copyOnHost(void* to, const void* from, size_t count);

  Device& device_;
  Pool& pool_;
  static constexpr int kPieces = 3;
  Piece pieces_[kPieces];
  int turn_ = 0;
  DeviceBuffer narrow_;  // where narrow rows arrive
  Event arrived_;
};

}  // namespace qkspace
