#include "cpu/covariance/covariance.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string>

#include "common/status.h"
#include "cpu/covariance/limits.h"
#include "cpu/rows/row_bits.h"
#include "cpu/vectors/half.h"

namespace qkspace {
namespace {

// No part of a batch has fewer terms than this.
constexpr int64_t kLeastTerms = 1024;
// A part that starts inside a label run adds up the keys before it once more, so a run is cut only so often.
constexpr int64_t kMostCuts = 4;

}  // namespace

Covariance::Covariance(const qks_spec& spec, const Kernels& kernels, Pool& pool, Workspace& workspace)
    : spec_(checkSpec(spec)), kernels_(kernels), pool_(pool), workspace_(workspace) {
  const int64_t d = spec.head_dim;
  block_ = 2 * (d * d + 2 * d);
  const double bytes = static_cast<double>(block_) * spec.heads * spec.contrasts * sizeof(double);
  if (bytes > 9007199254740992.0) {
    throw std::bad_alloc();
  }
  sums_.reserve(static_cast<size_t>(bytes), true);
  terms_.assign(static_cast<size_t>(spec.contrasts), 0);
  skipped_ = weight_[0] = weight_[1] = terms_;
}

HeadSums Covariance::at(double* base, int64_t contrast, int64_t head, int64_t part) const {
  const int64_t d = spec_.head_dim;
  double* p = base + ((part * spec_.contrasts + contrast) * spec_.heads + head) * block_;
  HeadSums sums;
  for (auto& side : sums.side) {
    side.q = p;
    side.k = p + d;
    side.qk = p + 2 * d;
    p += d * d + 2 * d;
  }
  return sums;
}

bool Covariance::scan(const PreparedBatch& b, int32_t head, float* largestQ, float* largestK,
                      std::string* where) const {
  const int64_t qHead = head * b.q.headStride, kHead = head / b.groupSize * b.k.headStride;
  uint32_t most[2] = {0, 0};
  auto look = [&](bool isKey, int64_t row) {
    const uint32_t bits = rowBits(isKey ? b.k : b.q, row, isKey ? kHead : qHead, b.headDim);
    if (bits > most[isKey]) {
      most[isKey] = bits;
    }
    if (bits < 0x7f800000u) {
      return true;
    }
    if (where) {
      const int32_t tensorHead = isKey ? head / b.groupSize : head;
      *where = std::string(isKey ? "k" : "q") + " is not finite at head " + std::to_string(tensorHead) + ", row " +
               std::to_string(row);
    }
    return false;
  };
  for (int32_t c = 0; c < b.contrasts; c++) {
    for (int64_t i = b.start[c]; i < b.start[c + 1]; i++) {
      const int32_t t = b.order[i];
      for (const TermSide& side : b.side) {
        if (!look(false, side.query[t])) {
          return false;
        }
        for (int32_t j = side.offsets[t]; j < side.offsets[t + 1]; j++) {
          if (!look(true, side.keys[j])) {
            return false;
          }
        }
      }
    }
    for (int64_t r = b.runStart[c]; r < b.runStart[c + 1]; r++) {
      const LabelRun& run = b.runs[r];
      if (run.termCount == 0) {
        continue;
      }
      for (int64_t i = 0; i < run.termCount; i++) {
        if (!look(false, run.terms[i].queryRow)) {
          return false;
        }
      }
      const int64_t keys = run.terms[run.termCount - 1].keysBefore;
      for (int64_t j = 0; j < keys; j++) {
        if (run.keyLabels[j] >= 0 && !look(true, run.keyRows[j])) {
          return false;
        }
      }
    }
  }
  if (largestQ) {
    *largestQ = bitsToFloat(most[0]);
  }
  if (largestK) {
    *largestK = bitsToFloat(most[1]);
  }
  return true;
}

void Covariance::reportNonFinite(const PreparedBatch& batch) const {
  std::string where;
  for (int32_t h = 0; h < spec_.heads; h++) {
    if (!scan(batch, h, nullptr, nullptr, &where)) {
      fail(QKS_E_NON_FINITE, where);
    }
  }
  fail(QKS_E_NON_FINITE, "a weighted sum of keys is beyond the range of float32");
}

// The cut depends on the batch alone, never on the number of threads.
std::vector<BatchPart> Covariance::partsOf(const PreparedBatch& b, double bytesEach) const {
  const int64_t terms = b.start[b.contrasts], labelled = b.labelStart[b.contrasts], work = terms + labelled;
  int64_t longest = 1;
  for (int64_t r = 0; r < b.runStart[b.contrasts]; r++) {
    longest = std::max(longest, b.runs[r].termCount);
  }
  const int64_t wanted =
      std::min({(kMostTasks + spec_.heads - 1) / spec_.heads, work / kLeastTerms, kMostCuts * work / longest});
  const int64_t room = static_cast<int64_t>(kMostSplit / bytesEach);
  const int64_t count = std::max<int64_t>(1, std::min(wanted, room));
  std::vector<BatchPart> parts(static_cast<size_t>(count));
  int64_t term = 0, label = 0;
  for (int64_t p = 0; p < count; p++) {
    BatchPart& part = parts[static_cast<size_t>(p)];
    const int64_t goal = work * (p + 1) / count;
    part.terms.from = term;
    term = p + 1 == count ? terms : std::min(terms, goal / kTile * kTile);
    part.terms.to = term;
    part.labelled.from = label;
    label = p + 1 == count ? labelled : std::max<int64_t>(0, goal - terms) / kTile * kTile;
    part.labelled.to = label;
  }
  return parts;
}

void Covariance::add(const qks_batch& in, const qks_cancel* cancel) {
  Batch& batch = workspace_.batch;
  prepareBatch(spec_, in, pool_, batch);
  const PreparedBatch& b = batch.view;
  const int64_t heads = spec_.heads, contrasts = spec_.contrasts;

  // Either the rows are checked first and summed straight into the masters, or they are summed beside the
  // masters and added when every head has passed. The cheaper in bytes is taken; results differ only in
  // the order of f64 additions, and the choice depends on the batch alone.
  const double stagedBytes = static_cast<double>(block_) * static_cast<double>(heads * contrasts) * sizeof(double);
  const double rowBytes = static_cast<double>(batch.rowsRead) * static_cast<double>(heads) * spec_.head_dim *
                          (b.q.dtype == QKS_F32 ? 4 : 2);
  bool staged = stagedBytes <= kMostStaged && rowBytes > stagedBytes;
  std::atomic<int32_t> worst{QKS_OK};
  if (!staged) {
    std::mutex mutex;
    float mostK = 0;
    pool_.run(spec_.threads, heads, [&](int64_t h, int) {
      if (cancelled(cancel)) {
        worst = QKS_E_ABORTED;
      }
      if (worst != QKS_OK || (spec_.allow_non_finite && !staged)) {
        return;
      }
      float q = 0, k = 0;
      if (!scan(b, static_cast<int32_t>(h), &q, &k, nullptr)) {
        worst = QKS_E_NON_FINITE;
        return;
      }
      std::lock_guard<std::mutex> lock(mutex);
      mostK = std::max(mostK, k);
    });
    if (worst == QKS_E_ABORTED) {
      fail(QKS_E_ABORTED, "the operation was aborted");
    }
    if (worst == QKS_E_NON_FINITE) {
      reportNonFinite(b);
    }
    // A key sum that may leave the range of f32 is only found by making it.
    if (!spec_.allow_non_finite && static_cast<double>(mostK) * batch.largestGain >= 3e38) {
      staged = true;
    }
  }

  const std::vector<BatchPart> parts = partsOf(b, staged ? stagedBytes : kMostSplit);
  const int64_t partCount = static_cast<int64_t>(parts.size());
  // Heads are read together as far as every thread still has tasks; no bit depends on it.
  const int64_t most = b.headDim <= 512 ? kMostHeads : 1;
  const int64_t together =
      std::max<int64_t>(1, std::min(most, heads * partCount / (2 * pool_.used(spec_.threads, heads * partCount))));
  const int64_t groups = (heads + together - 1) / together, tasks = groups * partCount;
  const size_t scratchBytes = kernels_.covarianceScratch(b, static_cast<int>(together));
  const int used = pool_.used(spec_.threads, tasks);
  for (int i = 0; i < used; i++) {
    workspace_.scratch[static_cast<size_t>(i)].reserve(scratchBytes);
  }
  std::vector<HeadSums> sums(static_cast<size_t>(used * together * contrasts));
  // [parts, contrasts, heads, block]
  if (staged) {
    workspace_.staged.reserve(static_cast<size_t>(stagedBytes) * parts.size());
  }
  double* base = staged ? workspace_.staged.get<double>() : sums_.get<double>();
  auto touches = [&](const BatchPart& part, int64_t c) {
    const Span terms = spanWithin(b.start, c, part.terms), labelled = spanWithin(b.labelStart, c, part.labelled);
    return terms.from < terms.to || labelled.from < labelled.to;
  };

  pool_.run(spec_.threads, tasks, [&](int64_t i, int worker) {
    if (worst != QKS_OK) {
      return;
    }
    const int64_t first = i % groups * together, p = i / groups, count = std::min(together, heads - first);
    const BatchPart& part = parts[static_cast<size_t>(p)];
    HeadSums* own = sums.data() + worker * together * contrasts;
    for (int64_t h = 0; h < count; h++) {
      for (int64_t c = 0; c < contrasts; c++) {
        const HeadSums& to = own[h * contrasts + c] = at(base, c, first + h, p);
        if (staged && touches(part, c)) {
          std::memset(to.side[0].q, 0, static_cast<size_t>(block_) * sizeof(double));
        }
      }
    }
    CovarianceTask task;
    task.batch = &b;
    task.part = part;
    task.head = static_cast<int32_t>(first);
    task.heads = static_cast<int32_t>(count);
    task.sums = own;
    task.scratch = workspace_.scratch[static_cast<size_t>(worker)].get();
    task.cancel = staged ? cancel : nullptr;
    const int32_t status = kernels_.covariance(task);
    if (status != QKS_OK) {
      worst = status;
    }
  });
  if (worst == QKS_E_ABORTED) {
    fail(QKS_E_ABORTED, "the operation was aborted");
  }
  if (worst == QKS_E_NON_FINITE) {
    reportNonFinite(b);
  }

  // Parts in order, entry by entry, whoever does it.
  constexpr int64_t kSlices = 4;
  if (staged) {
    pool_.run(spec_.threads, heads * kSlices, [&](int64_t i, int) {
      const int64_t h = i / kSlices, slice = i % kSlices;
      const int64_t first = block_ * slice / kSlices, last = block_ * (slice + 1) / kSlices;
      for (int64_t c = 0; c < contrasts; c++) {
        double* to = at(sums_.get<double>(), c, h).side[0].q;
        for (size_t p = 0; p < parts.size(); p++) {
          if (!touches(parts[p], c)) {
            continue;
          }
          const double* from = at(base, c, h, static_cast<int64_t>(p)).side[0].q;
          for (int64_t e = first; e < last; e++) {
            to[e] += from[e];
          }
        }
      }
    });
  }
  for (size_t c = 0; c < static_cast<size_t>(contrasts); c++) {
    terms_[c] += batch.terms[c];
    skipped_[c] += batch.skipped[c];
    for (int s = 0; s < 2; s++) {
      weight_[s][c] += batch.weight[s][c];
    }
  }
}

void Covariance::merge(const qks_moments& in) {
  const int64_t d = spec_.head_dim, heads = spec_.heads;
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    terms_[static_cast<size_t>(c)] += in.terms[c];
    skipped_[static_cast<size_t>(c)] += in.skipped[c];
    for (int s = 0; s < 2; s++) {
      weight_[s][static_cast<size_t>(c)] += in.side[s].weight[c];
    }
    for (int64_t h = 0; h < heads; h++) {
      const HeadSums to = at(sums_.get<double>(), c, h);
      const int64_t from = c * heads + h;
      for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < d; i++) {
          to.side[s].q[i] += in.side[s].q[from * d + i];
        }
        for (int64_t i = 0; i < d; i++) {
          to.side[s].k[i] += in.side[s].k[from * d + i];
        }
        for (int64_t i = 0; i < d * d; i++) {
          to.side[s].qk[i] += in.side[s].qk[from * d * d + i];
        }
      }
    }
  }
}

void Covariance::read(const int32_t* wanted, int32_t count, const qks_moments& out) const {
  const int64_t d = spec_.head_dim;
  checkHeads(wanted, count, spec_.heads);
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    out.terms[c] = terms_[static_cast<size_t>(c)];
    out.skipped[c] = skipped_[static_cast<size_t>(c)];
    for (int s = 0; s < 2; s++) {
      out.side[s].weight[c] = weight_[s][static_cast<size_t>(c)];
    }
    for (int32_t i = 0; i < count; i++) {
      const HeadSums from = at(sums_.get<double>(), c, wanted[i]);
      const int64_t to = c * count + i;
      const size_t vector = static_cast<size_t>(d) * sizeof(double);
      for (int s = 0; s < 2; s++) {
        std::memcpy(out.side[s].q + to * d, from.side[s].q, vector);
        std::memcpy(out.side[s].k + to * d, from.side[s].k, vector);
        std::memcpy(out.side[s].qk + to * d * d, from.side[s].qk, vector * static_cast<size_t>(d));
      }
    }
  }
}

}  // namespace qkspace
