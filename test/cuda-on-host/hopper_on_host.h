// Hopper's asynchronous parts: mbarriers, and products (wgmma) that read shared memory by a way of their own. What
// native/cuda/products/hopper/{barrier,wgmma}.cuh mean.
//
// Products see a copy of the dynamic shared memory, into which a thread's writes come only at its proxy fence: without
// the fence they multiply NaN, or what was there before. A product is computed when its first thread issues it, and
// its sums arrive when they are waited for; until then the accumulators are NaN. If its operands have changed by the
// time that the first thread has waited, the program ends.
#pragma once

#include <array>
#include <memory>

#include "cuda_runtime.h"
#include "float16_on_host.h"

namespace cuda_on_host {

// An mbarrier: arrivals that a phase takes, those that are left of this one, and the number of phases that have ended.
struct Mbarrier {
  uint16_t expected, left;
  uint32_t ended;
};
static_assert(sizeof(Mbarrier) == sizeof(uint64_t));

inline Mbarrier mbarrierOf(uint64_t bits) {
  Mbarrier barrier;
  std::memcpy(&barrier, &bits, sizeof barrier);
  return barrier;
}
inline bool phaseHasEnded(uint64_t bits, uint32_t parity) { return (mbarrierOf(bits).ended & 1) != parity; }

void initBarrier(uint64_t* barrier, int arrivals);
void arriveAt(uint64_t* barrier);
void waitAt(const uint64_t* barrier, uint32_t parity);
// A barrier of some threads of the block, by its number.
void waitForThreads(int barrier, int threads);

// Makes what this thread wrote (noteWritten) visible to products.
void fenceProxy();
// Offset of a pointer into dynamic shared memory, for descriptors.
uint32_t sharedAddress(const void* at);

// A product of one warpgroup, 64 x columns, from 16 rows of shared memory: made once for its 128 threads.
struct WarpgroupProduct {
  uint64_t a, b;
  bool bf16;
  int columns;
  uint64_t operands;  // a digest of what was read
  bool compared = false;
  int threads = 0;           // that have issued it
  std::vector<double> sums;  // [64, columns]
};

// What one thread adds of it to its accumulators, [columns / 2].
struct AsyncProduct {
  std::shared_ptr<WarpgroupProduct> made;
  float* to;
  bool first;                 // of those that wait for these accumulators
  std::vector<float> before;  // what the accumulators held
};

// Before the threads of a block start.
void startProducts();
// Issues one product. `registers`: the thread's part of A, where it does not come from shared memory by descriptor `a`.
void issueProduct(float* to, int columns, uint64_t a, const uint32_t* registers, uint64_t b, bool bf16);
void commitProducts();
// Until at most `left` groups of this thread are under way.
void waitForProducts(size_t left);
// setmaxnreg: dies where the warpgroups of a block would have more registers than there are.
void setRegisters(int each);

}  // namespace cuda_on_host
