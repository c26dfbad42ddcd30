// CUDA on the host, for tests on machines without a GPU: the kernels of native/cuda run as they are written,
// every thread of a block as a fiber, blocks one after another.
//
// Streams are queues that are worked off as late or as early as they may be (streams_on_host.cc).
//
// What it shows: results, indices, barriers that a thread misses, rows that nobody wrote (memory starts as NaN),
// reads before an asynchronous copy has been waited for, races that the order of the warps decides (the order
// turns round at every barrier), events that are missing between streams, copies and vectors that are not aligned,
// what Hopper's asynchronous products must not be given (hopper_on_host.h). Launches that a device refuses are refused
// (launches_on_host.cc). What it does not show: speed, and races within a warp.
#pragma once

#define QKS_CUDA_ON_HOST 1

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace cuda_on_host {

struct Copy {
  void* to;
  const void* from;
  unsigned size, bytes;  // `size` in all, those behind `bytes` zeros
};

// Bytes of shared memory that a thread has written and that asynchronous products do not see yet.
struct Written {
  const void* at;
  size_t bytes;
};

struct AsyncProduct;  // hopper_on_host.h

struct Fiber {
  void* stack = nullptr;  // where it goes on
  std::vector<char> room;
  uint3 index{};
  enum State { kReady, kAtBarrier, kWaiting, kDone } state = kDone;
  const uint64_t* awaited = nullptr;  // by kWaiting: an mbarrier, and the parity of the phase that has to end
  uint32_t parity = 0;
  std::vector<std::vector<Copy>> copies;  // groups that were committed, then the open one
  std::vector<Written> written;
  std::vector<std::vector<AsyncProduct>> products;  // as copies
  uint64_t productsPut = 0;
  Fiber();
  ~Fiber();
  Fiber(Fiber&&) noexcept;
};

struct Warp {
  int alive = 0, arrived = 0;
  unsigned phase = 0;
  alignas(16) char slots[2][32][64];
};

// What nvcc gives a kernel, by its report (kernels_on_host.cc).
struct Kernel {
  std::string name;
  bool reported = false;
  int registers = 0;  // a thread
  int threads = 0;    // the most that a block may have
  size_t shared = 0;  // static, a block
};

// A variable in the shared memory of a block.
struct SharedVariable {
  void* at;
  size_t bytes;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Fiber* running = nullptr;
  void* scheduler = nullptr;
  const std::function<void()>* body = nullptr;
  const Kernel* kernel = nullptr;
  std::vector<char> shared;
  std::vector<char> asyncView;            // of `shared`: what asynchronous products see
  std::vector<SharedVariable> variables;  // static shared memory that this block has met
};

[[noreturn]] void die(const std::string& what);
Block& block();
void yield();
// All blocks of a kernel, now.
void run(const Kernel& kernel, const std::function<void()>& body, dim3 grid, dim3 threads, size_t shared);

// What every lane of the warp gave; each lane gives one and reads all.
template <typename T>
struct Exchange {
  T of[32];
};

template <typename T>
Exchange<T> exchange(const T& mine) {
  static_assert(sizeof(T) <= 64, "more than a slot");
  Block& b = block();
  const size_t thread = static_cast<size_t>(b.running - b.fibers.data());
  Warp& warp = b.warps[thread / 32];
  const unsigned phase = warp.phase;
  std::memcpy(warp.slots[phase & 1][thread % 32], &mine, sizeof(T));
  if (++warp.arrived == warp.alive) {
    warp.arrived = 0;
    warp.phase++;
  } else {
    while (warp.phase == phase) {
      yield();
    }
  }
  Exchange<T> all;
  for (int i = 0; i < 32; i++) {
    std::memcpy(&all.of[i], warp.slots[phase & 1][i], sizeof(T));
  }
  return all;
}

// Shared memory of a size chosen at launch, aligned to 128 bytes and to no more: the buffer starts 128 bytes behind
// a multiple of 1024.
constexpr size_t kSharedAside = 2048;
inline char* sharedOrigin() {
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(block().shared.data()) + 1023) & ~uintptr_t{1023});
}
inline char* dynamicShared() { return sharedOrigin() + 128; }

// The running thread wrote these bytes of shared memory, where asynchronous products read.
inline void noteWritten(const void* at, size_t bytes) { block().running->written.push_back({at, bytes}); }

// A static variable of the block. Dies where the kernel has more of them than nvcc's report says.
void useShared(void* at, size_t bytes);

// Dies where `at` is not a multiple of `bytes`, as a load, store or copy of that size does on a device.
inline void requireAligned(const void* at, size_t bytes, const char* what) {
  if (reinterpret_cast<uintptr_t>(at) % bytes != 0) {
    die(std::string(what) + " of " + std::to_string(bytes) + " bytes is not aligned");
  }
}

}  // namespace cuda_on_host

extern thread_local uint3 blockIdx, threadIdx;
extern thread_local dim3 blockDim, gridDim;

void __syncthreads();
inline void __syncwarp(unsigned = 0xffffffffu) { cuda_on_host::exchange(0); }

inline unsigned laneOnHost() { return threadIdx.x % 32; }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_host::exchange(value).of[(laneOnHost() ^ static_cast<unsigned>(mask)) & 31];
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return cuda_on_host::exchange(value).of[lane & 31];
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  const auto all = cuda_on_host::exchange(predicate);
  unsigned bits = 0;
  for (int i = 0; i < 32; i++) {
    bits |= (all.of[i] != 0 ? 1u : 0u) << i;
  }
  return bits;
}
int __syncthreads_or(int predicate);

template <typename T>
T atomicAdd(T* to, T value) {
  const T old = *to;
  *to = old + value;
  return old;
}
template <typename T>
T atomicMin(T* to, T value) {
  const T old = *to;
  *to = std::min(old, value);
  return old;
}
template <typename T>
T atomicMax(T* to, T value) {
  const T old = *to;
  *to = std::max(old, value);
  return old;
}
template <typename T>
T atomicOr(T* to, T value) {
  const T old = *to;
  *to = old | value;
  return old;
}

inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
template <typename T>
T __ldg(const T* from) {
  return *from;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

// ---- the runtime's functions, as far as native/cuda calls them (streams_on_host.cc) ----

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNotReady = 600,
  cudaErrorLaunchOutOfResources = 701
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2,
                   cudaHostAllocDefault = 0;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount, l2CacheSize;
};

struct cudaFuncAttributes {
  size_t sharedSizeBytes;  // static
  int maxThreadsPerBlock, numRegs;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace cuda_on_host {

// The device is one of compute capability 9.0, or of 8.0 where CUDA_ON_HOST_CAPABILITY says so.
bool hasHopperParts();
inline size_t sharedAtMost() { return (hasHopperParts() ? 227 : 163) * 1024; }

// Puts a kernel with its arguments into the stream, or refuses it (launches_on_host.cc).
cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> body);
void enqueue(const Kernel& kernel, const cudaLaunchConfig_t& config, std::function<void()> body);
cudaError_t allowDynamicShared(const void* kernel, int bytes);
cudaError_t attributesOf(const void* kernel, cudaFuncAttributes* out);
const Kernel& kernelAt(const void* function);
// Why the last launch of this thread was refused, as long as nothing else was launched; null otherwise.
const char* refusal();

}  // namespace cuda_on_host

const char* cudaGetErrorString(cudaError_t);
const char* cudaGetErrorName(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaHostAlloc(void**, size_t, unsigned);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t);
cudaError_t cudaGetDevice(int*);
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int device);

template <typename Function>
cudaError_t cudaFuncSetAttribute(Function* kernel, cudaFuncAttribute, int value) {
  return cuda_on_host::allowDynamicShared(reinterpret_cast<const void*>(kernel), value);
}
template <typename Function>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* out, Function* function) {
  return cuda_on_host::attributesOf(reinterpret_cast<const void*>(function), out);
}
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> copies(std::forward<Arguments>(arguments)...);
  return cuda_on_host::launch(reinterpret_cast<const void*>(kernel), *config, [=] { std::apply(kernel, copies); });
}
