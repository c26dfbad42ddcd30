// mbarriers and asynchronous products (hopper_on_host.h).
#include "hopper_on_host.h"

#include <deque>

namespace cuda_on_host {
namespace {

constexpr int kRows = 64, kDepth = 16, kWarpgroup = 128;
constexpr size_t kRegisters = 65536;
constexpr uint64_t kNothingRead = 0xcbf29ce484222325ull;  // digest of no bytes

// Of a descriptor (PTX manual, "Matrix Descriptor Format").
struct Descriptor {
  uint32_t address, leading, stride;
  bool swizzled;
  explicit Descriptor(uint64_t bits)
      : address(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4),
        swizzled(bits >> 62 == 1) {
    if (bits >> 62 > 1) {
      die("a descriptor has a layout that is not known here");
    }
  }
  // Byte of element (row, column), columns lying together: rows are summed over.
  uint32_t at(int row, int column) const {
    const uint32_t r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(column);
    if (!swizzled) {
      return address + c / 8 * stride + r / 8 * leading + r % 8 * 16 + c % 8 * 2;
    }
    const uint32_t plain = address + c / 64 * leading + r / 8 * stride + r % 8 * 128 + c % 64 * 2;
    return plain ^ (plain >> 3 & 0x70);
  }
};

float number(uint16_t bits, bool bf16) {
  return bf16 ? __uint_as_float(static_cast<unsigned>(bits) << 16) : qkspace::f16OnHost(bits);
}

// [kDepth, columns], and a digest of the bytes.
std::vector<float> readOperand(uint64_t bits, int columns, bool bf16, uint64_t& digest) {
  const Descriptor descriptor(bits);
  const Block& b = block();
  const size_t origin = static_cast<size_t>(sharedOrigin() - b.shared.data());
  std::vector<float> out(static_cast<size_t>(kDepth * columns));
  for (int row = 0; row < kDepth; row++) {
    for (int column = 0; column < columns; column++) {
      const size_t at = origin + descriptor.at(row, column);
      if (at + 2 > b.asyncView.size()) {
        die("an asynchronous product reads outside of the shared memory");
      }
      uint16_t element;
      std::memcpy(&element, b.asyncView.data() + at, sizeof element);
      digest = (digest ^ element) * 0x100000001b3ull;
      out[static_cast<size_t>(row * columns + column)] = number(element, bf16);
    }
  }
  return out;
}

uint64_t digestOf(const WarpgroupProduct& product, bool fromRegisters) {
  uint64_t digest = kNothingRead;
  if (!fromRegisters) {
    readOperand(product.a, kRows, product.bf16, digest);
  }
  readOperand(product.b, product.columns, product.bf16, digest);
  return digest;
}

// A [kDepth, kRows] times B [kDepth, columns], summed over the depth.
void multiply(const std::vector<float>& a, const std::vector<float>& b, WarpgroupProduct& product) {
  const size_t columns = static_cast<size_t>(product.columns);
  product.sums.assign(kRows * columns, 0.0);
  for (size_t k = 0; k < kDepth; k++) {
    for (size_t m = 0; m < kRows; m++) {
      const double x = a[k * kRows + m];
      double* to = product.sums.data() + m * columns;
      for (size_t n = 0; n < columns; n++) {
        to[n] += x * static_cast<double>(b[k * columns + n]);
      }
    }
  }
}

// Products of each warpgroup that some of its threads have not issued yet, and how many came before.
struct Queue {
  std::deque<std::shared_ptr<WarpgroupProduct>> waiting;
  uint64_t before = 0;
  int registers = 0;  // that each thread asked for; 0: what it was launched with
};
thread_local std::vector<Queue> queues;
thread_local std::array<uint64_t, 16> barriers;  // by their numbers

size_t thread() { return static_cast<size_t>(block().running - block().fibers.data()); }

// The same descriptors in all threads of a warpgroup, in the same order.
std::shared_ptr<WarpgroupProduct> sharedProduct(const WarpgroupProduct& wanted, bool& isNew) {
  Queue& queue = queues[thread() / kWarpgroup];
  const uint64_t index = block().running->productsPut++ - queue.before;
  isNew = index == queue.waiting.size();
  if (isNew) {
    queue.waiting.push_back(std::make_shared<WarpgroupProduct>(wanted));
  }
  std::shared_ptr<WarpgroupProduct> product = queue.waiting[index];
  if (product->a != wanted.a || product->b != wanted.b || product->columns != wanted.columns ||
      product->bf16 != wanted.bf16) {
    die("threads of a warpgroup issue different products");
  }
  product->threads++;
  while (!queue.waiting.empty() && queue.waiting.front()->threads == kWarpgroup) {
    queue.waiting.pop_front();
    queue.before++;
  }
  return product;
}

// The part of A that comes from registers, [kDepth, 16] of this warp, by the layout of wgmma's A fragments.
std::vector<float> operandOfWarp(const uint32_t* registers, bool bf16) {
  struct Fragment {
    uint32_t a[4];
  };
  const auto all = exchange(Fragment{{registers[0], registers[1], registers[2], registers[3]}});
  std::vector<float> out(kDepth * 16);
  for (int k = 0; k < kDepth; k++) {
    for (int m = 0; m < 16; m++) {
      const uint32_t pair = all.of[m % 8 * 4 + k % 8 / 2].a[m / 8 + 2 * (k / 8)];
      out[static_cast<size_t>(k * 16 + m)] = number(static_cast<uint16_t>(k % 2 ? pair >> 16 : pair), bf16);
    }
  }
  return out;
}

float cutOff(double x) {
  const float near = static_cast<float>(x);
  if (std::isfinite(near) && std::fabs(static_cast<double>(near)) > std::fabs(x)) {
    return std::nextafterf(near, 0.0f);
  }
  return near;
}

// Calls entry(row, column, index of the accumulator) for this thread's part of 64 x columns.
template <typename Entry>
void forEach(int columns, Entry&& entry) {
  const int inGroup = static_cast<int>(thread() % kWarpgroup), warp = inGroup / 32, lane = inGroup % 32;
  for (int j = 0; j < columns / 8; j++) {
    for (int half = 0; half < 2; half++) {
      for (int e = 0; e < 2; e++) {
        entry(16 * warp + lane / 4 + 8 * half, 8 * j + lane % 4 * 2 + e, 4 * j + 2 * half + e);
      }
    }
  }
}

void finish(AsyncProduct& mine) {
  WarpgroupProduct& product = *mine.made;
  const bool fromRegisters = product.a == 0;
  if (!product.compared && digestOf(product, fromRegisters) != product.operands) {
    die("shared memory was written while an asynchronous product read it");
  }
  product.compared = true;
  if (mine.first) {
    std::copy(mine.before.begin(), mine.before.end(), mine.to);
  }
  forEach(product.columns, [&](int row, int column, int at) {
    const double sum = product.sums[static_cast<size_t>(row * product.columns + column)];
    mine.to[at] = cutOff(static_cast<double>(mine.to[at]) + sum);
  });
}

}  // namespace

Fiber::Fiber() = default;
Fiber::~Fiber() = default;
Fiber::Fiber(Fiber&&) noexcept = default;

void initBarrier(uint64_t* barrier, int arrivals) {
  const Mbarrier fresh{static_cast<uint16_t>(arrivals), static_cast<uint16_t>(arrivals), 0};
  std::memcpy(barrier, &fresh, sizeof fresh);
}

void arriveAt(uint64_t* barrier) {
  Mbarrier now = mbarrierOf(*barrier);
  if (now.expected == 0 || now.expected == 0xffff) {
    die("a thread arrives at an mbarrier that was not initialised");
  }
  if (--now.left == 0) {
    now.left = now.expected;
    now.ended++;
  }
  std::memcpy(barrier, &now, sizeof now);
}

void waitAt(const uint64_t* barrier, uint32_t parity) {
  const Mbarrier now = mbarrierOf(*barrier);
  if (now.expected == 0 || now.expected == 0xffff) {
    die("a thread waits at an mbarrier that was not initialised");
  }
  Fiber& mine = *block().running;
  while (!phaseHasEnded(*barrier, parity)) {
    mine.awaited = barrier;
    mine.parity = parity;
    mine.state = Fiber::kWaiting;
    yield();
  }
}

void waitForThreads(int number, int threads) {
  uint64_t& barrier = barriers.at(static_cast<size_t>(number));
  if (barrier == 0) {
    initBarrier(&barrier, threads);
  }
  if (mbarrierOf(barrier).expected != threads) {
    die("threads disagree on how many meet at a barrier");
  }
  const uint32_t parity = mbarrierOf(barrier).ended & 1;
  arriveAt(&barrier);
  waitAt(&barrier, parity);
}

uint32_t sharedAddress(const void* at) { return static_cast<uint32_t>(static_cast<const char*>(at) - sharedOrigin()); }

void fenceProxy() {
  Block& b = block();
  for (const Written& some : b.running->written) {
    const char* from = static_cast<const char*>(some.at);
    if (from >= b.shared.data() && from + some.bytes <= b.shared.data() + b.shared.size()) {
      std::memcpy(b.asyncView.data() + (from - b.shared.data()), from, some.bytes);
    }
  }
  b.running->written.clear();
}

void startProducts() {
  queues.assign(1024 / kWarpgroup, {});
  barriers.fill(0);
}

void issueProduct(float* to, int columns, uint64_t a, const uint32_t* registers, uint64_t b, bool bf16) {
  // In registers, each warp has 16 rows of A: products of a warp, which only look as if they were of the warpgroup.
  // First, since lanes wait for each other here.
  const std::vector<float> own = registers ? operandOfWarp(registers, bf16) : std::vector<float>();
  bool isNew = false;
  const auto made = sharedProduct(WarpgroupProduct{a, b, bf16, columns, 0, false, 0, {}}, isNew);
  if (registers) {
    uint64_t digest = kNothingRead;
    const std::vector<float> keys = readOperand(b, columns, bf16, digest);
    if (isNew) {
      made->operands = digest;
      made->sums.assign(static_cast<size_t>(kRows * columns), 0.0);
    } else if (made->operands != digest) {
      die("shared memory was written while an asynchronous product read it");
    }
    // A thread needs two rows; the others of its warp make theirs.
    forEach(columns, [&](int row, int column, int) {
      double sum = 0;
      for (int k = 0; k < kDepth; k++) {
        sum += static_cast<double>(own[static_cast<size_t>(k * 16 + row % 16)]) *
               static_cast<double>(keys[static_cast<size_t>(k * columns + column)]);
      }
      made->sums[static_cast<size_t>(row * columns + column)] = sum;
    });
  } else if (isNew) {
    uint64_t digest = kNothingRead;
    const std::vector<float> left = readOperand(a, kRows, bf16, digest);
    const std::vector<float> right = readOperand(b, columns, bf16, digest);
    made->operands = digest;
    multiply(left, right, *made);
  }
  AsyncProduct mine{made, to, true, {}};
  for (const auto& group : block().running->products) {
    for (const AsyncProduct& other : group) {
      mine.first &= other.to != to;
    }
  }
  if (mine.first) {
    mine.before.assign(to, to + columns / 2);
    std::fill(to, to + columns / 2, NAN);
  }
  block().running->products.back().push_back(std::move(mine));
}

void commitProducts() { block().running->products.emplace_back(); }

void waitForProducts(size_t left) {
  auto& groups = block().running->products;
  while (groups.size() > left + 1) {
    for (AsyncProduct& product : groups.front()) {
      finish(product);
    }
    groups.erase(groups.begin());
  }
}

void setRegisters(int each) {
  if (each < 24 || each > 256 || each % 8 != 0) {
    die("setmaxnreg takes multiples of 8 from 24 to 256");
  }
  queues[thread() / kWarpgroup].registers = each;
  const size_t groups = blockDim.x / kWarpgroup;
  size_t all = 0;
  for (size_t g = 0; g < groups; g++) {
    all += static_cast<size_t>(queues[g].registers) * kWarpgroup;
  }
  if (all > kRegisters) {
    die("the warpgroups of a block ask for more registers than there are");
  }
}

}  // namespace cuda_on_host
