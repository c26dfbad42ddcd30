#include "cuda/runtime/transfer.h"

#include <algorithm>
#include <cstring>

#include "common/status.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stopwatch.h"

namespace qkspace {
namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;
// What a thread fills at a time: small enough that all of them end together.
constexpr size_t kTaskBytes = size_t{128} << 10;

// One row of all heads, dense.
void copyRow(const RowView& v, int64_t row, int64_t heads, int64_t d, char* to) {
  const int64_t at = v.linear ? row * v.posStride : row / v.pos * v.batchStride + row % v.pos * v.posStride;
  const size_t size = elementSize(v.dtype), vector = static_cast<size_t>(d) * size;
  const char* from = static_cast<const char*>(v.data) + static_cast<size_t>(at) * size;
  if (v.dimStride == 1 && v.headStride == d) {
    std::memcpy(to, from, static_cast<size_t>(heads) * vector);
    return;
  }
  for (int64_t h = 0; h < heads; h++) {
    const char* head = from + static_cast<size_t>(h * v.headStride) * size;
    if (v.dimStride == 1) {
      std::memcpy(to, head, vector);
      to += vector;
      continue;
    }
    for (int64_t i = 0; i < d; i++, to += size) {
      std::memcpy(to, head + static_cast<size_t>(i * v.dimStride) * size, size);
    }
  }
}

}  // namespace

Transfer::Piece& Transfer::nextPiece(size_t bytes) {
  Piece& piece = pieces_[turn_];
  turn_ = (turn_ + 1) % kPieces;
  if (piece.busy) {
    check(cudaEventSynchronize(piece.copied), "copying to the device");
  }
  piece.busy = false;
  piece.memory.reserve(std::max(kPieceBytes, bytes));
  return piece;
}

void Transfer::pinned(const void* from, size_t count, void* to) {
  const Stopwatch::Lap lap(device_.copying, device_.copies);
  check(cudaMemcpyAsync(to, from, count, cudaMemcpyHostToDevice, device_.copies), "copying to the device");
  device_.copiedBytes += count;
}

void Transfer::send(Piece& piece, size_t bytes, char* to) {
  pinned(piece.memory.get<char>(), bytes, to);
  check(cudaEventRecord(piece.copied, device_.copies), "recording a copy");
  piece.busy = true;
}

void Transfer::rows(const RowView& view, int64_t heads, int64_t d, const int32_t* wanted, int64_t count, char* to,
                    const qks_cancel* cancel) {
  const size_t row = static_cast<size_t>(heads * d) * elementSize(view.dtype);
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(kPieceBytes / row));
  const int64_t rowsATask = std::max<int64_t>(1, static_cast<int64_t>(kTaskBytes / row));
  for (int64_t first = 0; first < count; first += most) {
    stopIfCancelled(cancel);
    const int64_t here = std::min(most, count - first);
    Piece& piece = nextPiece(row);
    char* memory = piece.memory.get<char>();
    pool_.run(0, (here + rowsATask - 1) / rowsATask, [&](int64_t task, int) {
      for (int64_t i = task * rowsATask; i < std::min(here, (task + 1) * rowsATask); i++) {
        copyRow(view, wanted ? wanted[first + i] : first + i, heads, d, memory + static_cast<size_t>(i) * row);
      }
    });
    send(piece, static_cast<size_t>(here) * row, to + static_cast<size_t>(first) * row);
  }
}

void Transfer::copyOnHost(void* to, const void* from, size_t count) {
  pool_.run(0, static_cast<int64_t>((count + kTaskBytes - 1) / kTaskBytes), [&](int64_t task, int) {
    const size_t at = static_cast<size_t>(task) * kTaskBytes;
    std::memcpy(static_cast<char*>(to) + at, static_cast<const char*>(from) + at, std::min(kTaskBytes, count - at));
  });
}

void Transfer::bytesBeside(const void* from, size_t count, void* to) {
  for (size_t first = 0; first < count; first += kPieceBytes) {
    const size_t here = std::min(kPieceBytes, count - first);
    Piece& piece = nextPiece(kPieceBytes);
    copyOnHost(piece.memory.get<char>(), static_cast<const char*>(from) + first, here);
    send(piece, here, static_cast<char*>(to) + first);
  }
}

void Transfer::bytes(const void* from, size_t count, void* to) {
  bytesBeside(from, count, to);
  follow(device_.stream, device_.copies, arrived_);
}

void Transfer::fetch(const void* from, size_t count, void* to, const Event& ready) {
  check(cudaStreamWaitEvent(device_.copies, ready, 0), "waiting for an event");
  // Of the piece that is on its way while the next one is asked for.
  Piece* before = nullptr;
  auto land = [&](size_t end) {
    if (!before) {
      return;
    }
    check(cudaEventSynchronize(before->copied), "copying to the host");
    const size_t first = (end - 1) / kPieceBytes * kPieceBytes;
    copyOnHost(static_cast<char*>(to) + first, before->memory.get<char>(), end - first);
  };
  for (size_t first = 0; first < count; first += kPieceBytes) {
    Piece& piece = nextPiece(kPieceBytes);
    check(cudaMemcpyAsync(piece.memory.get<char>(), static_cast<const char*>(from) + first,
                          std::min(kPieceBytes, count - first), cudaMemcpyDeviceToHost, device_.copies),
          "copying to the host");
    check(cudaEventRecord(piece.copied, device_.copies), "recording a copy");
    piece.busy = true;
    land(first);
    before = &piece;
  }
  land(count);
}

}  // namespace qkspace
