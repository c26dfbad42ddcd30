#include "cpu/flips/largest_of_flips.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <vector>

#include "common/batch.h"
#include "common/flips_request.h"
#include "common/status.h"
#include "cpu/flips/plan.h"
#include "cpu/rows/row_bits.h"

namespace qkspace {
namespace {

// Bytes of the matrices that a thread makes before it decomposes them, and of the patterns that all share.
constexpr int64_t kMatrixBytes = int64_t{32} << 20, kPatternBytes = int64_t{48} << 20;
constexpr int64_t kMostDraws = 8192;
// A table costs about as much as a hundred draws, so blocks are not made smaller than this to give every thread one.
constexpr int64_t kLeastDraws = 192;
constexpr int64_t kTasksAThread = 4;

// The largest magnitude of each head's rows; the first that is not finite is refused.
std::vector<float> largestOfHeads(const RowView& v, int64_t heads, int32_t d, const char* name, Pool& pool,
                                  int32_t threads, const qks_cancel* cancel) {
  std::vector<float> most(static_cast<size_t>(heads), 0);
  std::vector<int64_t> bad(static_cast<size_t>(heads), -1);
  pool.run(threads, heads, [&](int64_t h, int) {
    for (int64_t row = 0; row < v.rows; row++) {
      if (row % 4096 == 0 && cancelled(cancel)) {
        return;
      }
      const uint32_t bits = rowBits(v, row, h * v.headStride, d);
      if (bits >= 0x7f800000u) {
        bad[static_cast<size_t>(h)] = row;
        return;
      }
      most[static_cast<size_t>(h)] = std::max(most[static_cast<size_t>(h)], bitsToFloat(bits));
    }
  });
  stopIfCancelled(cancel);
  for (size_t h = 0; h < bad.size(); h++) {
    if (bad[h] >= 0) {
      fail(QKS_E_NON_FINITE,
           std::string(name) + " is not finite at head " + std::to_string(h) + ", row " + std::to_string(bad[h]));
    }
  }
  return most;
}

// A power of two that is at least x, 1 for 0.
double powerAbove(double x) {
  int exponent = 0;
  if (x > 0) {
    std::frexp(x, &exponent);
  }
  return std::ldexp(1.0, exponent);
}

}  // namespace

void largestOfFlips(const qks_flips_request& r, const Kernels& kernels, Pool& pool, Workspace& workspace,
                    const qks_cancel* cancel, double* out) {
  const FlipsShape shape = checkFlipsRequest(r, r.q, r.k);
  const int32_t d = shape.d;
  FlipsPlan plan;
  plan.q = checkTensor(r.q, shape.heads, d, "q");
  plan.k = checkTensor(r.k, shape.heads / shape.group, d, "k");
  plan.d = d;
  plan.group = shape.group;
  plan.rank = r.rank;
  plan.components = r.components;
  plan.coefficients = r.coefficients;
  const std::vector<float> mostQ = largestOfHeads(plan.q, shape.heads, d, "q", pool, r.threads, cancel);
  const std::vector<float> mostK = largestOfHeads(plan.k, shape.heads / shape.group, d, "k", pool, r.threads, cancel);
  float mostC = 0;
  for (int64_t i = 0; i < r.rows; i++) {
    mostC = std::max(mostC, std::fabs(r.coefficients[i]));
  }

  const FlipsDivision division(r, d);
  plan.slots = division.slots().data();
  plan.strips = division.strips().data();
  plan.stripCount = static_cast<int32_t>(division.strips().size());
  plan.stripRows = division.stripRows();

  const int64_t passBytes = division.passes() * kGroups * static_cast<int64_t>(sizeof(uint16_t));
  const int64_t wave = std::min(r.draws, std::max<int64_t>(32, kPatternBytes / passBytes / 32 * 32));
  const int64_t matrixBytes = static_cast<int64_t>(kernels.flipsScratch(d, 2, 0) - kernels.flipsScratch(d, 1, 0));
  const int64_t most = std::max<int64_t>(1, std::min(kMostDraws, kMatrixBytes / matrixBytes));
  const int64_t wanted = kTasksAThread * pool.used(r.threads, kMostDraws);
  workspace.staged.reserve(static_cast<size_t>(passBytes * wave));
  plan.patterns = workspace.staged.get<uint16_t>();
  for (int64_t first = 0; first < r.draws; first += wave) {
    const int64_t count = std::min(wave, r.draws - first);
    division.patterns(r, pool, first, count, workspace.staged.get<uint16_t>());
    plan.patternDraws = count;
    const int64_t heads = std::max<int64_t>(1, r.head_count);
    const int64_t blocks =
        std::max((count + most - 1) / most, std::min((wanted + heads - 1) / heads, count / kLeastDraws));
    const int64_t length = (count + blocks - 1) / blocks;
    const int64_t tasks = r.head_count * blocks;
    const size_t bytes = kernels.flipsScratch(d, static_cast<int32_t>(length), plan.stripRows);
    for (int i = 0; i < pool.used(r.threads, tasks); i++) {
      workspace.scratch[static_cast<size_t>(i)].reserve(bytes);
    }
    std::atomic<int32_t> status{QKS_OK};
    pool.run(r.threads, tasks, [&](int64_t task, int worker) {
      const int64_t index = task / blocks, from = task % blocks * length;
      if (status != QKS_OK || from >= count) {
        return;
      }
      if (cancelled(cancel)) {
        status = QKS_E_ABORTED;
        return;
      }
      FlipsTask t;
      t.plan = &plan;
      t.head = r.heads[index];
      t.firstDraw = from;
      t.draws = static_cast<int32_t>(std::min(length, count - from));
      const double query = powerAbove(static_cast<double>(mostC) * mostQ[static_cast<size_t>(t.head)]);
      const double key = powerAbove(mostK[static_cast<size_t>(t.head / shape.group)]);
      t.queryScale = 1 / query;
      t.keyScale = static_cast<float>(1 / key);
      t.scale = query * key;
      t.u = r.rank > 0 ? r.u + index * d * r.rank : nullptr;
      t.v = r.rank > 0 ? r.v + index * d * r.rank : nullptr;
      t.scratch = workspace.scratch[static_cast<size_t>(worker)].get();
      t.cancel = cancel;
      t.out = out + (index * r.draws + first + from) * r.components;
      const int32_t result = kernels.flips(t);
      if (result != QKS_OK) {
        status = result;
      }
    });
    if (status == QKS_E_ABORTED) {
      fail(QKS_E_ABORTED, "the operation was aborted");
    }
  }
}

}  // namespace qkspace
