// Faults that a device refuses, planted one at a time: launches that return an error (printed), and kernels that end
// the program. Kernels here are those of launch_test_resources.txt; `pairs` is one of native/cuda.
#include <cstdio>
#include <cstring>
#include <string>

#include "async_copy_on_host.h"
#include "cuda/products/hopper/wgmma.cuh"
// For the kernel, which is of no use to anybody else.
#include "cuda/products/mma/pairs16.cu"
#include "cuda/svd/block/packet.cuh"

namespace qkspace {
namespace {

__global__ void plain(int*) {}
__global__ void __launch_bounds__(128) bounded(int*) {}
__global__ void manyRegisters(int*) {}
__global__ void unreported(int*) {}
__global__ void withStaticShared(int*) { QKS_SHARED(uint32_t[32], some); }
__global__ void withMoreThanReported(int*) {
  QKS_SHARED(uint32_t[32], some);
  QKS_SHARED(double, one);
}
__global__ void copies(char* from, int size, int atSource, int atTarget) {
  QKS_DYNAMIC_SHARED(shared);
  copyAsyncOnHost(shared + atTarget, from + atSource, static_cast<uint32_t>(size), static_cast<uint32_t>(size));
  commitCopiesOnHost();
  waitForCopiesOnHost(0);
}
__global__ void loads(char* from) { load(reinterpret_cast<const Packet<float>*>(from + 8)); }
__global__ void stores(char* to) { store(reinterpret_cast<Packet<double>*>(to + 8), Packet<double>{}); }
__global__ void matrices(char* from) {
  uint32_t m[4];
  loadTransposed(m, from + 8);
}

// Sums of 16 rows of ones by a warpgroup, with one fault or none. Prints what a sum comes to.
enum Fault { kNone, kNoFence, kReadEarly, kWriteEarly, kNoCommit, kNoWait, kOtherOperands, kTooManyRegisters };
template <int kFault>
__global__ void products() {
  QKS_DYNAMIC_SHARED(shared);
  char* const tile = shared + (1024 - sharedAddress(shared) % 1024) % 1024;
  auto fill = [&](uint32_t pair) {
    for (uint32_t at = threadIdx.x * 4; at < 2048; at += blockDim.x * 4) {
      storeOperand(reinterpret_cast<uint32_t*>(tile + at), pair);
    }
  };
  if (kFault == kTooManyRegisters) {
    takeMoreRegisters<256>();
    takeMoreRegisters<264>();
  }
  fill(0x3f803f80u);
  if (kFault != kNoFence) {
    fenceProxy();
  }
  __syncthreads();
  const uint64_t a = panelOperand(sharedAddress(tile), 2048);
  float sums[32] = {};
  fenceProducts();
  multiplyAsync<true>(sums, a, kFault == kOtherOperands && threadIdx.x == 77 ? a + 64 : a);
  if (kFault != kNoCommit) {
    commitProducts();
  }
  if (kFault == kWriteEarly) {
    fill(0);
    fenceProxy();
  }
  const float early = sums[0];
  if (kFault != kNoWait) {
    waitForProducts<0>();
  }
  if (threadIdx.x == 0) {
    std::printf("%g\n", static_cast<double>(kFault == kReadEarly ? early : sums[0]));
  }
}

// Half of the threads wait for the other half, of which one does not come.
__global__ void barriers(int absent) {
  QKS_SHARED(Barrier, ready);
  if (threadIdx.x == 0) {
    initBarrier(&ready, 32);
  }
  __syncthreads();
  if (threadIdx.x >= 32) {
    waitFor(&ready, 0);
  } else if (static_cast<int>(threadIdx.x) != absent) {
    arrive(&ready);
  }
}
__global__ void unpreparedBarrier() {
  QKS_SHARED(Barrier, ready);
  arrive(&ready);
}

cudaStream_t stream;
char* memory;

template <typename... Parameters, typename... Arguments>
cudaError_t start(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  const cudaLaunchConfig_t config{grid, block, shared, stream};
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
}

template <typename Kernel>
cudaError_t allow(Kernel* kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename Kernel>
cudaError_t started(Kernel* kernel, dim3 grid, dim3 block, size_t shared = 0) {
  return start(kernel, grid, block, shared, static_cast<int*>(nullptr));
}

// What the first launch of a test is given where nothing is wrong with its sizes.
const dim3 kOne(1);

cudaError_t copy(int size, int atSource, int atTarget) {
  return start(copies, kOne, kOne, 64, memory, size, atSource, atTarget);
}

// 16-bit pairs at d = 64: 48 KiB of dynamic shared memory. Without a row, so that it ends at once.
cudaError_t pairs(bool asked) {
  const CovarianceShape shape{1, 1, 64};
  const Slice none{0, -1, 0, 0};
  const auto kernel = pairs16OnTensorCores<64, false>;
  const size_t shared = kStages * 2 * kPairRows * 64 * 2 + (asked ? 0 : 128);
  const DevicePairs some{{memory, QKS_F16, 1, 64}, {}};
  if (asked) {
    launch("pairs", kernel, kOne, dim3(kPairThreads), shared, stream, shape, some, &none,
           reinterpret_cast<float*>(memory));
    return cudaStreamSynchronize(stream);
  }
  return start(kernel, kOne, dim3(kPairThreads), shared, shape, some, &none, reinterpret_cast<float*>(memory));
}

template <int kFault>
cudaError_t multiplied() {
  return start(products<kFault>, kOne, dim3(kWarpgroup), 4096);
}

constexpr int k48 = 48 * 1024, k227 = 227 * 1024;

const struct {
  const char* name;
  cudaError_t (*run)();
} kCases[] = {
    {"fine", [] { return started(plain, dim3(3, 2, 2), dim3(8, 2, 64)); }},
    {"no blocks", [] { return started(plain, dim3(0), kOne); }},
    {"wide grid", [] { return started(plain, dim3(2147483648u), kOne); }},
    {"deep grid", [] { return started(plain, dim3(1, 65536), kOne); }},
    {"deeper grid", [] { return started(plain, dim3(1, 1, 65536), kOne); }},
    {"no threads", [] { return started(plain, kOne, dim3(0)); }},
    {"large block", [] { return started(plain, kOne, dim3(1025)); }},
    {"large block of two dimensions", [] { return started(plain, kOne, dim3(64, 17)); }},
    {"deep block", [] { return started(plain, kOne, dim3(1, 1, 65)); }},
    {"threads within launch bounds", [] { return started(bounded, kOne, dim3(128)); }},
    {"threads above launch bounds", [] { return started(bounded, kOne, dim3(129)); }},
    {"registers that fit", [] { return started(manyRegisters, kOne, dim3(384)); }},
    {"registers that do not fit", [] { return started(manyRegisters, kOne, dim3(385)); }},
    {"not in the report", [] { return started(unreported, kOne, kOne); }},
    {"dynamic shared memory within the default", [] { return started(plain, kOne, kOne, k48); }},
    {"dynamic shared memory above the default", [] { return started(plain, kOne, kOne, k48 + 1); }},
    {"static beside dynamic shared memory, within the default",
     [] { return started(withStaticShared, kOne, kOne, k48 - 128); }},
    {"static beside dynamic shared memory, above the default",
     [] { return started(withStaticShared, kOne, kOne, k48 - 127); }},
    {"static beside dynamic shared memory, asked for",
     [] {
       allow(withStaticShared, k227 - 128);
       return started(withStaticShared, kOne, kOne, k227 - 128);
     }},
    {"more shared memory than was asked for",
     [] {
       allow(withStaticShared, k48);
       return started(withStaticShared, kOne, kOne, k48 + 1);
     }},
    {"asking for more shared memory than there is", [] { return allow(withStaticShared, k227 - 127); }},
    {"more static shared memory than reported", [] { return started(withMoreThanReported, kOne, kOne); }},
    {"pairs as the default allows", [] { return pairs(false); }},
    {"pairs as they are launched", [] { return pairs(true); }},
    {"copies that are aligned",
     [] {
       for (const int size : {4, 8, 16}) {
         copy(size, size, 3 * size);
       }
       return cudaSuccess;
     }},
    {"copy of 4 bytes from between", [] { return copy(4, 2, 0); }},
    {"copy of 8 bytes to between", [] { return copy(8, 0, 4); }},
    {"copy of 16 bytes from between", [] { return copy(16, 8, 0); }},
    {"copy of 16 bytes to between", [] { return copy(16, 0, 8); }},
    {"copy of 12 bytes", [] { return copy(12, 0, 0); }},
    {"load from between", [] { return start(loads, kOne, kOne, 0, memory); }},
    {"store to between", [] { return start(stores, kOne, kOne, 0, memory); }},
    {"ldmatrix from between", [] { return start(matrices, kOne, dim3(32), 0, memory); }},
    {"products", multiplied<kNone>},
    {"products without a proxy fence", multiplied<kNoFence>},
    {"sums that are read too early", multiplied<kReadEarly>},
    {"operands that are written too early", multiplied<kWriteEarly>},
    {"products that are not committed", multiplied<kNoCommit>},
    {"products that are not waited for", multiplied<kNoWait>},
    {"threads of a warpgroup with other operands", multiplied<kOtherOperands>},
    {"more registers than a thread can have", multiplied<kTooManyRegisters>},
    {"mbarrier at which all arrive", [] { return start(barriers, kOne, dim3(64), 0, -1); }},
    {"mbarrier at which one does not arrive", [] { return start(barriers, kOne, dim3(64), 0, 31); }},
    {"mbarrier that nobody initialised", [] { return start(unpreparedBarrier, kOne, dim3(32), 0); }},
};

}  // namespace
}  // namespace qkspace

int main(int count, char** arguments) {
  cudaStreamCreateWithFlags(&qkspace::stream, cudaStreamNonBlocking);
  cudaMalloc(reinterpret_cast<void**>(&qkspace::memory), 1 << 20);
  for (const auto& one : qkspace::kCases) {
    if (count == 2 && std::strcmp(one.name, arguments[1]) == 0) {
      try {
        std::printf("%s\n", cudaGetErrorString(one.run()));
      } catch (const qkspace::Failure& failure) {
        std::printf("%s\n", failure.message.c_str());
      }
      return 0;
    }
  }
  std::fprintf(stderr, "name one case\n");
  return 2;
}
