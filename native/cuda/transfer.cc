#include "cuda/transfer.h"

#include <algorithm>
#include <cstring>

namespace qkspace {
namespace {

constexpr size_t kHalf = size_t{16} << 20;

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
    for (int64_t i = 0; i < d; i++, to += size) std::memcpy(to, head + static_cast<size_t>(i * v.dimStride) * size, size);
  }
}

}  // namespace

Transfer::Half& Transfer::nextHalf(size_t bytes) {
  Half& half = halves_[turn_];
  turn_ ^= 1;
  if (half.busy) check(cudaEventSynchronize(half.copied), "copying to the device");
  half.busy = false;
  half.memory.reserve(std::max(kHalf, bytes));
  return half;
}

void Transfer::send(Half& half, void* to, size_t bytes) {
  {
    const Stopwatch::Lap lap(device_.copying, device_.copies);
    check(cudaMemcpyAsync(to, half.memory.get<char>(), bytes, cudaMemcpyHostToDevice, device_.copies),
          "copying to the device");
  }
  device_.copiedBytes += bytes;
  check(cudaEventRecord(half.copied, device_.copies), "recording a copy");
  half.busy = true;
}

void Transfer::rows(const RowView& view, int64_t heads, int64_t d, const int32_t* wanted, int64_t count, void* to,
                    const qks_cancel* cancel) {
  // What ran before may still read the memory that is about to be written.
  check(cudaEventRecord(before_, device_.stream), "recording an event");
  check(cudaStreamWaitEvent(device_.copies, before_, 0), "waiting for an event");
  const size_t row = static_cast<size_t>(heads * d) * elementSize(view.dtype);
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(kHalf / row));
  constexpr int64_t kRowsATask = 64;
  for (int64_t first = 0; first < count; first += most) {
    stopIfCancelled(cancel);
    const int64_t here = std::min(most, count - first);
    Half& half = nextHalf(row);
    char* memory = half.memory.get<char>();
    pool_.run(0, (here + kRowsATask - 1) / kRowsATask, [&](int64_t task, int) {
      for (int64_t i = task * kRowsATask; i < std::min(here, (task + 1) * kRowsATask); i++)
        copyRow(view, wanted ? wanted[first + i] : first + i, heads, d, memory + static_cast<size_t>(i) * row);
    });
    send(half, static_cast<char*>(to) + static_cast<size_t>(first) * row, static_cast<size_t>(here) * row);
  }
  check(cudaEventRecord(done_, device_.copies), "recording an event");
  check(cudaStreamWaitEvent(device_.stream, done_, 0), "waiting for an event");
}

void Transfer::bytes(const void* from, size_t count, void* to) {
  check(cudaEventRecord(before_, device_.stream), "recording an event");
  check(cudaStreamWaitEvent(device_.copies, before_, 0), "waiting for an event");
  for (size_t first = 0; first < count; first += kHalf) {
    const size_t here = std::min(kHalf, count - first);
    Half& half = nextHalf(kHalf);
    std::memcpy(half.memory.get<char>(), static_cast<const char*>(from) + first, here);
    send(half, static_cast<char*>(to) + first, here);
  }
  check(cudaEventRecord(done_, device_.copies), "recording an event");
  check(cudaStreamWaitEvent(device_.stream, done_, 0), "waiting for an event");
}

}  // namespace qkspace
