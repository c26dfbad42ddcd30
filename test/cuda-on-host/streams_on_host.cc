// The runtime's functions on ordinary memory, with streams that work as late or as early as they may.
//
// Work that is put into a stream waits in a queue. It is done when something waits for it (a stream or event that is
// synchronised, a stream that waits for the event, memory that is freed), or at once where CUDA_ON_HOST_SCHEDULE says
// so: "late" (nothing at once; the default), "early" (everything), "copies-early" (copies to the device),
// "kernels-early" (everything else). An event that is missing, or memory that is used again too early, then gives
// wrong numbers under one of them. All that is not forbidden between two streams is one of these, or between them.
//
// Where CUDA_ON_HOST_MAIN_THREAD is 'free', the process ends when its main thread, which is JavaScript's, waits for work
// that is left in a stream.
//
// Copies from page-locked memory read it when they are done; from other memory when they are put into the stream, as
// the driver may. Copies to other memory than page-locked are waited for.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda_runtime.h"

namespace {

// One thread at a time, kernels included: whoever waits also does the work that others have left.
std::recursive_mutex mutex;

// A place in a stream.
struct Mark {
  CUstream_st* stream;
  uint64_t place;
  bool reached = false;
  std::chrono::steady_clock::time_point at;
};

struct Work {
  std::function<void()> body;
  std::shared_ptr<Mark> awaited;  // what has to be reached before, or null
};

}  // namespace

struct CUstream_st {
  bool copiesAtOnce, kernelsAtOnce;
  std::deque<Work> queue;
  uint64_t put = 0, done = 0;
};
struct CUevent_st {
  std::shared_ptr<Mark> mark;  // null until it is recorded
};

namespace {

std::map<CUstream_st*, std::unique_ptr<CUstream_st>> streams;
std::map<char*, size_t> deviceMemory, lockedMemory;
size_t used = 0;
thread_local int currentDevice = 0;

size_t memory() {
  const char* limit = std::getenv("CUDA_ON_HOST_MEMORY");
  return limit ? static_cast<size_t>(std::strtoull(limit, nullptr, 10)) : size_t{4} << 30;
}

void refuseOnMainThread() {
  const char* wanted = std::getenv("CUDA_ON_HOST_MAIN_THREAD");
  if (wanted && std::string(wanted) == "free" && gettid() == getpid()) {
    std::fprintf(stderr, "CUDA on the host: JavaScript's thread waits for the device\n");
    std::abort();
  }
}

void advance(CUstream_st& stream, uint64_t place) {
  if (stream.done < place) {
    refuseOnMainThread();
  }
  while (stream.done < place) {
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    stream.done++;
    if (work.awaited && !work.awaited->reached) {
      advance(*work.awaited->stream, work.awaited->place);
    }
    if (work.body) {
      work.body();
    }
  }
}

void finish(CUstream_st& stream) { advance(stream, stream.put); }

void finishAll() {
  for (auto& stream : streams) {
    finish(*stream.first);
  }
}

void put(CUstream_st& stream, bool atOnce, std::function<void()> body, std::shared_ptr<Mark> awaited = nullptr) {
  stream.queue.push_back({std::move(body), std::move(awaited)});
  stream.put++;
  if (atOnce) {
    finish(stream);
  }
}

bool isLocked(const void* pointer) {
  const auto after = lockedMemory.upper_bound(static_cast<char*>(const_cast<void*>(pointer)));
  if (after == lockedMemory.begin()) {
    return false;
  }
  const auto& [start, bytes] = *std::prev(after);
  return pointer < start + bytes;
}

// Filled with NaN, so that a read before a write shows.
char* filled(size_t bytes) {
  char* data = static_cast<char*>(std::aligned_alloc(256, std::max<size_t>(256, (bytes + 255) / 256 * 256)));
  if (data) {
    std::memset(data, 0xff, bytes);
  }
  return data;
}

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

namespace cuda_on_host {

void enqueue(const Kernel& kernel, const cudaLaunchConfig_t& config, std::function<void()> body) {
  // To time what the host does beside them: results are void.
  static const bool leftOut = std::getenv("CUDA_ON_HOST_WITHOUT_KERNELS") != nullptr;
  if (leftOut) {
    return;
  }
  const Lock lock(mutex);
  put(*config.stream, config.stream->kernelsAtOnce,
      [=, &kernel] { run(kernel, body, config.gridDim, config.blockDim, config.dynamicSmemBytes); });
}

}  // namespace cuda_on_host

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNotReady:
      return "device not ready";
    default:
      return cuda_on_host::refusal() ? cuda_on_host::refusal() : "invalid argument";
  }
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 2;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= 2) {
    return cudaErrorInvalidValue;
  }
  currentDevice = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = currentDevice;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = static_cast<int>(cuda_on_host::sharedAtMost());
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int device) {
  std::memset(out, 0, sizeof *out);
  std::snprintf(out->name, sizeof out->name, "CUDA on the host, device %d (no GPU)", device);
  out->uuid.bytes[15] = static_cast<char>(device + 1);
  out->totalGlobalMem = memory();
  out->sharedMemPerBlockOptin = cuda_on_host::sharedAtMost();
  out->major = cuda_on_host::hasHopperParts() ? 9 : 8;
  out->multiProcessorCount = 4;
  out->l2CacheSize = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(mutex);
  *total = memory();
  *free = *total > used ? *total - used : 0;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** out, size_t bytes) {
  const Lock lock(mutex);
  if (used + bytes > memory()) {
    return cudaErrorMemoryAllocation;
  }
  char* data = filled(bytes);
  if (!data) {
    return cudaErrorMemoryAllocation;
  }
  deviceMemory[data] = bytes;
  used += bytes;
  *out = data;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  if (!pointer) {
    return cudaSuccess;
  }
  const Lock lock(mutex);
  const auto found = deviceMemory.find(static_cast<char*>(pointer));
  if (found == deviceMemory.end()) {
    return cudaErrorInvalidValue;
  }
  finishAll();
  used -= found->second;
  deviceMemory.erase(found);
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** out, size_t bytes, unsigned) {
  const Lock lock(mutex);
  char* data = filled(bytes);
  if (!data) {
    return cudaErrorMemoryAllocation;
  }
  lockedMemory[data] = bytes;
  *out = data;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (!pointer) {
    return cudaSuccess;
  }
  const Lock lock(mutex);
  finishAll();
  if (lockedMemory.erase(static_cast<char*>(pointer)) == 0) {
    return cudaErrorInvalidValue;
  }
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  const Lock lock(mutex);
  if (kind == cudaMemcpyHostToDevice && !isLocked(from)) {
    const char* start = static_cast<const char*>(from);
    const auto staged = std::make_shared<std::vector<char>>(start, start + bytes);
    put(*stream, stream->copiesAtOnce, [=] { std::memcpy(to, staged->data(), bytes); });
    return cudaSuccess;
  }
  put(*stream, kind == cudaMemcpyHostToDevice ? stream->copiesAtOnce : stream->kernelsAtOnce,
      [=] { std::memcpy(to, from, bytes); });
  if (kind == cudaMemcpyDeviceToHost && !isLocked(to)) {
    finish(*stream);
  }
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(mutex);
  put(*stream, stream->kernelsAtOnce, [=] {
    if (bytes) {
      std::memset(to, value, bytes);
    }
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned) {
  const char* wanted = std::getenv("CUDA_ON_HOST_SCHEDULE");
  const std::string schedule = wanted ? wanted : "late";
  const bool all = schedule == "early", copies = schedule == "copies-early", kernels = schedule == "kernels-early";
  if (!all && !copies && !kernels && schedule != "late") {
    return cudaErrorInvalidValue;
  }
  const Lock lock(mutex);
  auto stream = std::make_unique<CUstream_st>();
  stream->copiesAtOnce = all || copies;
  stream->kernelsAtOnce = all || kernels;
  *out = stream.get();
  streams[*out] = std::move(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(mutex);
  finish(*stream);
  streams.erase(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(mutex);
  finish(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(mutex);
  if (event->mark) {
    put(*stream, false, nullptr, event->mark);
  }
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
  *out = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(mutex);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(mutex);
  const auto mark = std::make_shared<Mark>();
  mark->stream = stream;
  mark->place = stream->put + 1;
  event->mark = mark;
  put(*stream, false, [mark] {
    mark->reached = true;
    mark->at = std::chrono::steady_clock::now();
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(mutex);
  if (event->mark && !event->mark->reached) {
    advance(*event->mark->stream, event->mark->place);
  }
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* out, cudaEvent_t from, cudaEvent_t to) {
  const Lock lock(mutex);
  if (!from->mark || !to->mark) {
    return cudaErrorInvalidValue;
  }
  if (!from->mark->reached || !to->mark->reached) {
    return cudaErrorNotReady;
  }
  *out = std::chrono::duration<float, std::milli>(to->mark->at - from->mark->at).count();
  return cudaSuccess;
}
