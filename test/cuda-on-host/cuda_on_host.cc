// The scheduler of fibers.
#include "cuda_runtime.h"

#include <cstdio>

#include "hopper_on_host.h"

thread_local uint3 blockIdx, threadIdx;
thread_local dim3 blockDim, gridDim;

// switch_fiber(where to keep the stack of now, the stack to go on with): callee-saved registers lie on the stacks.
extern "C" void switch_fiber(void** keep, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.type switch_fiber, @function
switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size switch_fiber, .-switch_fiber
)");
constexpr size_t kSavedRegisters = 6, kReturn = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.type switch_fiber, %function
switch_fiber:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size switch_fiber, .-switch_fiber
)");
constexpr size_t kSavedRegisters = 20, kReturn = 11;
#else
#error "fibers are written for x86-64 and AArch64"
#endif

namespace cuda_on_host {
namespace {

constexpr size_t kStack = 96 * 1024;

void fiberMain() {
  Block& b = block();
  (*b.body)();
  Fiber& mine = *b.running;
  for (const auto& group : mine.copies) {
    if (!group.empty()) {
      die("a thread ended with asynchronous copies that were not waited for");
    }
  }
  for (const auto& group : mine.products) {
    if (!group.empty()) {
      die("a thread ended with asynchronous products that were not waited for");
    }
  }
  Warp& warp = b.warps[static_cast<size_t>(b.running - b.fibers.data()) / 32];
  warp.alive--;
  if (warp.arrived != 0) {
    die("a thread ended while others of its warp wait for it");
  }
  mine.state = Fiber::kDone;
  switch_fiber(&mine.stack, b.scheduler);
  die("a fiber ran on after its end");
}

void prepare(Fiber& fiber) {
  if (fiber.room.empty()) {
    fiber.room.resize(kStack);
  }
  const uintptr_t top = (reinterpret_cast<uintptr_t>(fiber.room.data()) + kStack) & ~uintptr_t{15};
  // A multiple of 16: after x86-64's six registers and return address the stack is as a call leaves it.
  void** stack = reinterpret_cast<void**>(top - 256);
  for (size_t i = 0; i < kSavedRegisters; i++) {
    stack[i] = nullptr;
  }
  stack[kReturn] = reinterpret_cast<void*>(&fiberMain);
  fiber.stack = stack;
  fiber.state = Fiber::kReady;
  fiber.copies.assign(1, {});
  fiber.written.clear();
  fiber.products.clear();
  fiber.products.resize(1);
  fiber.productsPut = 0;
}

void resume(Block& b, Fiber& fiber) {
  b.running = &fiber;
  threadIdx = fiber.index;
  switch_fiber(&b.scheduler, fiber.stack);
}

// Lets those threads of a warp go on that wait for an mbarrier whose phase has ended.
void wake(Block& b, size_t first, size_t last) {
  for (size_t t = first; t < last; t++) {
    Fiber& fiber = b.fibers[t];
    if (fiber.state == Fiber::kWaiting && phaseHasEnded(*fiber.awaited, fiber.parity)) {
      fiber.state = Fiber::kReady;
    }
  }
}

// One block from start to end.
void runBlock(Block& b, size_t threads) {
  const size_t warps = (threads + 31) / 32;
  for (size_t w = 0; w < warps; w++) {
    b.warps[w].alive = static_cast<int>(std::min<size_t>(32, threads - 32 * w));
    b.warps[w].arrived = 0;
    b.warps[w].phase = 0;
  }
  for (size_t t = 0; t < threads; t++) {
    prepare(b.fibers[t]);
  }
  startProducts();
  for (bool backwards = false;; backwards = !backwards) {
    size_t ran = 0;
    for (size_t i = 0; i < warps; i++) {
      const size_t w = backwards ? warps - 1 - i : i;
      const size_t first = 32 * w, last = std::min(threads, first + 32);
      for (size_t turns = 0, ready = 1; ready > 0; turns++, ran += ready) {
        ready = 0;
        wake(b, first, last);
        for (size_t t = first; t < last; t++) {
          if (b.fibers[t].state != Fiber::kReady) {
            continue;
          }
          ready++;
          resume(b, b.fibers[t]);
        }
        if (turns > 1000000000) {
          die("a warp waits for ever");
        }
        bool some = false, waiting = false;
        for (size_t t = first; t < last; t++) {
          some |= b.fibers[t].state == Fiber::kReady;
          waiting |= b.fibers[t].state == Fiber::kAtBarrier || b.fibers[t].state == Fiber::kWaiting;
        }
        if (some && waiting && b.warps[w].arrived > 0 && turns > 4) {
          die("lanes of one warp wait in different places");
        }
      }
    }
    size_t waiting = 0, done = 0;
    for (size_t t = 0; t < threads; t++) {
      waiting += b.fibers[t].state == Fiber::kAtBarrier;
      done += b.fibers[t].state == Fiber::kDone;
    }
    if (done == threads) {
      return;
    }
    if (done + waiting < threads) {
      if (ran == 0) {
        die("threads wait at an mbarrier where too few arrive");
      }
      continue;
    }
    if (done > 0) {
      die("some threads ended, others wait at a barrier");
    }
    for (size_t t = 0; t < threads; t++) {
      b.fibers[t].state = Fiber::kReady;
    }
  }
}

}  // namespace

[[noreturn]] void die(const std::string& what) {
  const Kernel* kernel = block().kernel;
  std::fprintf(stderr, "CUDA on the host: %s%s%s\n", kernel ? kernel->name.c_str() : "", kernel ? ": " : "",
               what.c_str());
  std::abort();
}

void useShared(void* at, size_t bytes) {
  Block& b = block();
  size_t together = bytes;
  for (const SharedVariable& known : b.variables) {
    if (known.at == at) {
      return;
    }
    together += known.bytes;
  }
  if (together > b.kernel->shared) {
    die("there are " + std::to_string(together) + " bytes of static shared memory, but " +
        std::to_string(b.kernel->shared) + " in nvcc's report: run 'npm run cuda:resources'");
  }
  b.variables.push_back({at, bytes});
  std::memset(at, 0xff, bytes);
}

Block& block() {
  static thread_local Block b;
  return b;
}

void yield() {
  Block& b = block();
  switch_fiber(&b.running->stack, b.scheduler);
}

void run(const Kernel& kernel, const std::function<void()>& body, dim3 grid, dim3 threads, size_t shared) {
  Block& b = block();
  const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
  if (b.fibers.size() < count) {
    b.fibers.resize(count);
  }
  if (b.warps.size() < 32) {
    b.warps.resize(32);
  }
  b.shared.assign(shared + kSharedAside, static_cast<char>(0xff));
  b.asyncView.assign(shared + kSharedAside, static_cast<char>(0xff));
  b.kernel = &kernel;
  b.body = &body;
  gridDim = grid;
  blockDim = threads;
  for (size_t t = 0; t < count; t++) {
    b.fibers[t].index = {static_cast<unsigned>(t % threads.x), static_cast<unsigned>(t / threads.x % threads.y),
                         static_cast<unsigned>(t / threads.x / threads.y)};
  }
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        std::fill(b.shared.begin(), b.shared.end(), static_cast<char>(0xff));
        std::fill(b.asyncView.begin(), b.asyncView.end(), static_cast<char>(0xff));
        b.variables.clear();
        runBlock(b, count);
      }
    }
  }
}

}  // namespace cuda_on_host

void __syncthreads() {
  cuda_on_host::Block& b = cuda_on_host::block();
  b.running->state = cuda_on_host::Fiber::kAtBarrier;
  cuda_on_host::yield();
}

int __syncthreads_or(int predicate) {
  static thread_local int any[2];
  static thread_local unsigned round = 0;
  // Cleared by the first to arrive: everybody has left the round before.
  static thread_local unsigned arrived = 0;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  if (arrived++ == 0) {
    any[round & 1] = 0;
  }
  const unsigned mine = round & 1;
  any[mine] |= predicate;
  if (arrived == threads) {
    arrived = 0;
    round++;
  }
  __syncthreads();
  return any[mine];
}
