#include "cuda/runtime/copies/transfer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "common/status.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/stopwatch.h"

namespace qkspace {
namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;
// What a thread fills at a time: small enough that all of them end together.
constexpr size_t kTaskBytes = size_t{128} << 10;

// Where the device has less memory than this, nothing of it is taken for narrow rows.
constexpr size_t kMemoryToNarrow = size_t{512} << 20;

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

void Transfer::fill(const RowPiece& rows, char* memory) {
  const size_t row = static_cast<size_t>(rows.numbers()) * elementSize(rows.view.dtype);
  const int64_t each = std::max<int64_t>(1, static_cast<int64_t>(kTaskBytes / row));
  pool_.run(0, (rows.count + each - 1) / each, [&](int64_t task, int) {
    for (int64_t i = task * each; i < std::min(rows.count, (task + 1) * each); i++) {
      copyRow(rows.view, rows.row(i), rows.heads, rows.d, memory + static_cast<size_t>(i) * row);
    }
  });
}

// False where a number is not exact; what has been written is void then.
bool Transfer::fillNarrow(const RowPiece& rows, Travel travel, uint16_t* memory) {
  const size_t numbers = static_cast<size_t>(rows.numbers());
  const int64_t each = std::max<int64_t>(1, static_cast<int64_t>(kTaskBytes / (numbers * sizeof(float))));
  std::atomic<bool> exact{true};
  pool_.run(0, (rows.count + each - 1) / each, [&](int64_t task, int) {
    std::vector<float> dense(numbers);
    for (int64_t i = task * each; exact && i < std::min(rows.count, (task + 1) * each); i++) {
      copyRow(rows.view, rows.row(i), rows.heads, rows.d, reinterpret_cast<char*>(dense.data()));
      if (!narrow(travel, dense.data(), numbers, memory + static_cast<size_t>(i) * numbers)) {
        exact = false;
      }
    }
  });
  return exact;
}

bool Transfer::canNarrow(const RowView& view) {
  if (view.dtype != QKS_F32 || device_.budget.limit < kMemoryToNarrow) {
    return false;
  }
  if (narrow_.bytes() == 0 && device_.budget.available() < kMemoryToNarrow / 4) {
    return false;
  }
  narrow_.reserve(kPieceBytes / 2, "rows in 16 bits");
  return true;
}

void Transfer::rows(const RowView& view, int64_t heads, int64_t d, const int32_t* wanted, int64_t count, char* to,
                    Travel& travel, const qks_cancel* cancel) {
  const int64_t numbers = heads * d;
  const size_t row = static_cast<size_t>(numbers) * elementSize(view.dtype);
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(kPieceBytes / row));
  if (count > 0 && travel == Travel::kUnknown) {
    travel = Travel::kAsIs;
    if (row <= kPieceBytes && canNarrow(view)) {
      std::vector<float> some(static_cast<size_t>(numbers));
      copyRow(view, wanted ? wanted[0] : 0, heads, d, reinterpret_cast<char*>(some.data()));
      travel = travelOf(some.data(), some.size());
    }
  }
  for (int64_t first = 0; first < count; first += most) {
    stopIfCancelled(cancel);
    const RowPiece rows{view, heads, d, wanted, first, std::min(most, count - first)};
    Piece& piece = nextPiece(row);
    char* const at = to + static_cast<size_t>(first) * row;
    while (travel != Travel::kAsIs && !fillNarrow(rows, travel, piece.memory.get<uint16_t>())) {
      travel = nextTravel(travel);
    }
    if (travel == Travel::kAsIs) {
      fill(rows, piece.memory.get<char>());
      send(piece, static_cast<size_t>(rows.count) * row, at);
      continue;
    }
    // In one stream: the piece before has been widened by the time that this one arrives.
    send(piece, static_cast<size_t>(rows.count * numbers) * sizeof(uint16_t), narrow_.get<char>());
    widen(device_.copies, travel, narrow_.get<uint16_t>(), rows.count * numbers, reinterpret_cast<float*>(at));
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
