#include "common/batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>

#include "common/blocks.h"
#include "common/status.h"

namespace qkspace {
namespace {

constexpr int64_t kMaxRows = INT32_MAX;
constexpr int64_t kMaxElements = int64_t{1} << 53;

std::string str(int64_t x) { return std::to_string(x); }

// a * b of non-negative numbers, or a failure above 2^53.
int64_t product(int64_t a, int64_t b, const char* what) {
  if (a != 0 && b > kMaxElements / a) {
    fail(QKS_E_SHAPE, std::string(what) + " has more than 2^53 elements");
  }
  return a * b;
}

}  // namespace

RowView checkTensor(const qks_tensor& t, int64_t heads, int64_t d, const char* name) {
  const std::string who = name;
  if (t.dtype != QKS_F32 && t.dtype != QKS_F16 && t.dtype != QKS_BF16) {
    fail(QKS_E_ARGUMENT, who + ": unknown dtype " + str(t.dtype));
  }
  for (int i = 0; i < 4; i++) {
    if (t.shape[i] < 0 || t.shape[i] > kMaxRows) {
      fail(QKS_E_SHAPE, who + ": shape[" + str(i) + "] is " + str(t.shape[i]) + ", expected 0 to 2^31 - 1");
    }
    if (t.strides[i] < 0 || t.strides[i] > kMaxElements) {
      fail(QKS_E_SHAPE, who + ": strides[" + str(i) + "] is " + str(t.strides[i]) + ", expected 0 to 2^53");
    }
  }
  if (t.shape[2] != heads) {
    fail(QKS_E_SHAPE, who + " has " + str(t.shape[2]) + " heads, expected " + str(heads));
  }
  if (t.shape[3] != d) {
    fail(QKS_E_SHAPE, who + " has head dimension " + str(t.shape[3]) + ", expected " + str(d));
  }
  const int64_t rows = product(t.shape[0], t.shape[1], name);
  if (rows > kMaxRows) {
    fail(QKS_E_SHAPE, who + " has " + str(rows) + " rows, at most 2^31 - 1 can be numbered");
  }
  if (rows > 0) {
    int64_t last = 0;
    for (int i = 0; i < 4; i++) {
      last += product(t.shape[i] - 1, t.strides[i], name);
      if (last > kMaxElements) {
        fail(QKS_E_SHAPE, who + " spans more than 2^53 elements");
      }
    }
    if (!t.rows && (t.length <= last || !t.data)) {
      fail(QKS_E_SHAPE, who + " has " + str(t.length) + " elements, its shape and strides need " + str(last + 1));
    }
  }
  RowView v;
  v.data = t.data;
  v.dtype = t.dtype;
  v.rows = rows;
  v.pos = std::max<int64_t>(1, t.shape[1]);
  v.batchStride = t.strides[0];
  v.posStride = t.strides[1];
  v.headStride = t.strides[2];
  v.dimStride = t.strides[3];
  v.linear = t.shape[0] <= 1 || t.strides[0] == t.shape[1] * t.strides[1];
  return v;
}

namespace {

void checkRows(const Blocks& blocks, const int32_t* rows, int64_t limit, const char* name) {
  const int64_t i = blocks.first([=](int64_t i) { return rows[i] < 0 || rows[i] >= limit; });
  if (i >= 0) {
    fail(QKS_E_RANGE,
         std::string(name) + "[" + str(i) + "] is " + str(rows[i]) + ", expected a row from 0 to " + str(limit - 1));
  }
}

void checkWeights(const Blocks& blocks, const float* weights, const char* name) {
  if (!weights) {
    return;
  }
  const int64_t i = blocks.first([=](int64_t i) { return !std::isfinite(weights[i]) || weights[i] < 0; });
  if (i >= 0) {
    fail(QKS_E_ARGUMENT, std::string(name) + "[" + str(i) + "] is " + std::to_string(weights[i]) +
                             ", expected a finite weight that is not negative");
  }
}

void checkOffsets(const Blocks& terms, const int32_t* offsets, int64_t count, int64_t keys, const char* name) {
  if (offsets[0] != 0) {
    fail(QKS_E_RANGE, std::string(name) + "[0] is " + str(offsets[0]) + ", expected 0");
  }
  const int64_t t = terms.first([=](int64_t t) { return offsets[t + 1] <= offsets[t]; });
  if (t >= 0 && offsets[t + 1] < offsets[t]) {
    fail(QKS_E_RANGE, std::string(name) + " falls at index " + str(t + 1) + " (" + str(offsets[t]) + " to " +
                          str(offsets[t + 1]) + ")");
  }
  if (t >= 0) {
    fail(QKS_E_EMPTY_SET, std::string(name) + ": term " + str(t) + " has no keys");
  }
  if (offsets[count] != keys) {
    fail(QKS_E_RANGE, std::string(name) + " ends at " + str(offsets[count]) + ", expected " + str(keys));
  }
}

// Terms in order of contrast, stable.
void orderTerms(const Blocks& blocks, const int32_t* contrast, size_t contrasts, Batch& out) {
  if (contrasts == 1) {
    blocks.each([&](int64_t, int64_t from, int64_t to) {
      std::iota(out.order.begin() + from, out.order.begin() + to, static_cast<int32_t>(from));
    });
    out.start[1] = static_cast<int64_t>(out.order.size());
    out.terms[0] += static_cast<double>(out.order.size());
    return;
  }
  // Terms of a contrast in each block; then where the block's first goes.
  std::vector<int64_t> next(static_cast<size_t>(blocks.blocks()) * contrasts, 0);
  auto of = [&](int64_t block) { return next.data() + static_cast<size_t>(block) * contrasts; };
  blocks.each([&](int64_t block, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) {
      of(block)[contrast[t]]++;
    }
  });
  int64_t at = 0;
  for (size_t c = 0; c < contrasts; c++) {
    out.start[c] = at;
    for (int64_t block = 0; block < blocks.blocks(); block++) {
      const int64_t here = of(block)[c];
      of(block)[c] = at;
      at += here;
    }
    out.terms[c] += static_cast<double>(at - out.start[c]);
  }
  out.start[contrasts] = at;
  blocks.each([&](int64_t block, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) {
      out.order[static_cast<size_t>(of(block)[contrast[t]]++)] = static_cast<int32_t>(t);
    }
  });
}

void prepareTerms(const qks_spec& spec, const qks_terms& in, Pool& pool, Batch& out) {
  PreparedBatch& v = out.view;
  const int64_t n = in.count;
  const size_t contrasts = static_cast<size_t>(spec.contrasts);
  if (n < 0 || n > kMaxRows) {
    fail(QKS_E_SHAPE, "terms: the number of terms is out of range");
  }
  out.start.assign(contrasts + 1, 0);
  out.order.clear();
  if (n == 0) {
    return;
  }
  const Blocks terms(pool, spec.threads, n, std::max<int64_t>(16384, int64_t{4} * spec.contrasts));
  const Blocks positive(pool, spec.threads, in.pos_count), negative(pool, spec.threads, in.neg_count);
  const int64_t wrong = terms.first([&](int64_t t) { return in.contrast[t] < 0 || in.contrast[t] >= spec.contrasts; });
  if (wrong >= 0) {
    fail(QKS_E_RANGE,
         "contrast[" + str(wrong) + "] is " + str(in.contrast[wrong]) + ", expected 0 to " + str(spec.contrasts - 1));
  }
  checkRows(terms, in.query, v.q.rows, "query");
  if (in.query_neg != in.query) {
    checkRows(terms, in.query_neg, v.q.rows, "queryNeg");
  }
  checkOffsets(terms, in.pos_offsets, n, in.pos_count, "posOffsets");
  checkOffsets(terms, in.neg_offsets, n, in.neg_count, "negOffsets");
  checkRows(positive, in.pos, v.k.rows, "pos");
  checkRows(negative, in.neg, v.k.rows, "neg");
  checkWeights(terms, in.weights, "weights");
  checkWeights(positive, in.pos_weights, "posWeights");
  checkWeights(negative, in.neg_weights, "negWeights");

  out.order.resize(static_cast<size_t>(n));
  orderTerms(terms, in.contrast, contrasts, out);

  const bool mean = spec.estimator == QKS_PER_QUERY;
  for (int s = 0; s < 2; s++) {
    const int32_t* offsets = s == 0 ? in.pos_offsets : in.neg_offsets;
    const float* keyWeights = s == 0 ? in.pos_weights : in.neg_weights;
    out.keyScale[s].resize(static_cast<size_t>(n));
    out.queryScale[s].resize(static_cast<size_t>(n));
    double* keyScale = out.keyScale[s].data();
    double* queryScale = out.queryScale[s].data();
    auto sumOf = [=](int64_t t) {
      if (!keyWeights) {
        return static_cast<double>(offsets[t + 1] - offsets[t]);
      }
      double sum = 0;
      for (int32_t j = offsets[t]; j < offsets[t + 1]; j++) {
        sum += static_cast<double>(keyWeights[j]);
      }
      return sum;
    };
    const int64_t zero = keyWeights ? terms.first([&](int64_t t) { return !(sumOf(t) > 0); }) : -1;
    if (zero >= 0) {
      fail(QKS_E_ARGUMENT,
           std::string(s == 0 ? "posWeights" : "negWeights") + ": all weights of term " + str(zero) + " are zero");
    }
    // Added block by block, in their order.
    std::vector<double> weights(static_cast<size_t>(terms.blocks()) * contrasts, 0);
    std::vector<double> gains(static_cast<size_t>(terms.blocks()), 0);
    terms.each([&](int64_t block, int64_t from, int64_t to) {
      double* weight = weights.data() + static_cast<size_t>(block) * contrasts;
      // The weight of the contrast that comes now stays in a register: most lists have runs of one.
      int32_t contrast = in.contrast[from];
      double here = 0, gain = 0;
      for (int64_t t = from; t < to; t++) {
        if (in.contrast[t] != contrast) {
          weight[contrast] = here;
          contrast = in.contrast[t];
          here = weight[contrast];
        }
        const double sum = sumOf(t), w = in.weights ? static_cast<double>(in.weights[t]) : 1.0;
        keyScale[t] = mean ? w / sum : w;
        queryScale[t] = mean ? w : w * sum;
        here += spec.estimator == QKS_SUM ? w : queryScale[t];
        gain = std::max(gain, std::max(keyScale[t] * sum, queryScale[t]));
      }
      weight[contrast] = here;
      gains[static_cast<size_t>(block)] = gain;
    });
    for (size_t i = 0; i < weights.size(); i++) {
      out.weight[s][i % contrasts] += weights[i];
    }
    for (const double gain : gains) {
      out.largestGain = std::max(out.largestGain, gain);
    }
    v.side[s] = {s == 0 ? in.query : in.query_neg, offsets, s == 0 ? in.pos : in.neg, keyWeights, keyScale, queryScale};
  }
  out.rowsRead += 2 * n + in.pos_count + in.neg_count;
}

void checkPositions(const int32_t* positions, int64_t count, const std::string& name) {
  for (int64_t i = 1; i < count; i++) {
    if (positions[i] <= positions[i - 1]) {
      fail(QKS_E_RANGE, name + " does not ascend at index " + str(i) + " (" + str(positions[i - 1]) + ", " +
                            str(positions[i]) + ")");
    }
  }
}

// Plans one sequence with counts only; the sums of keys are made per head by the kernel.
void prepareRun(const qks_spec& spec, const qks_labels& in, int64_t index, Pool& pool, Batch& out) {
  const std::string who = "labels[" + str(index) + "]";
  if (in.contrast < 0 || in.contrast >= spec.contrasts) {
    fail(QKS_E_RANGE, who + ".contrast is " + str(in.contrast) + ", expected 0 to " + str(spec.contrasts - 1));
  }
  if (in.key_scope != QKS_BEFORE && in.key_scope != QKS_OTHERS && in.key_scope != QKS_ALL) {
    fail(QKS_E_ARGUMENT, who + ".keyScope is unknown");
  }
  if (in.query_count < 0 || in.key_count < 0 || in.query_count > kMaxRows || in.key_count > kMaxRows) {
    fail(QKS_E_SHAPE, who + ": the number of queries or keys is out of range");
  }
  checkRows(Blocks(pool, spec.threads, in.query_count), in.query_rows, out.view.q.rows, (who + ".queryRows").c_str());
  checkRows(Blocks(pool, spec.threads, in.key_count), in.key_rows, out.view.k.rows, (who + ".keyRows").c_str());
  checkPositions(in.query_positions, in.query_count, who + ".queryPositions");
  checkPositions(in.key_positions, in.key_count, who + ".keyPositions");

  LabelIndex& labels = out.labelIndex;
  labels.clear();
  const size_t firstKey = out.keyLabels.size(), firstTerm = out.labelTerms.size();
  out.keyLabels.resize(firstKey + static_cast<size_t>(in.key_count));
  int32_t* keyLabels = out.keyLabels.data() + firstKey;
  for (int64_t j = 0; j < in.key_count; j++) {
    keyLabels[j] = in.key_labels[j] < 0 ? -1 : labels.add(in.key_labels[j]);
  }
  const size_t contrast = static_cast<size_t>(in.contrast);
  std::vector<int64_t>& seen = out.seen;
  seen.assign(static_cast<size_t>(labels.size()), 0);
  int64_t total = 0, key = 0, self = 0;
  for (int64_t i = 0; i < in.query_count; i++) {
    const int32_t position = in.query_positions[i];
    while (key < in.key_count && (in.key_scope != QKS_BEFORE || in.key_positions[key] < position)) {
      const int32_t label = keyLabels[key++];
      if (label < 0) {
        continue;
      }
      seen[static_cast<size_t>(label)]++;
      total++;
    }
    while (self < in.key_count && in.key_positions[self] < position) {
      self++;
    }
    if (in.query_labels[i] < 0) {
      continue;
    }
    const int32_t found = labels.find(in.query_labels[i]);
    int64_t pos = found < 0 ? 0 : seen[static_cast<size_t>(found)];
    int64_t neg = total - pos;
    LabelTerm term;
    term.selfKey = -1;
    if (in.key_scope == QKS_OTHERS && self < in.key_count && in.key_positions[self] == position &&
        keyLabels[self] >= 0) {
      term.selfKey = static_cast<int32_t>(self);
      (keyLabels[self] == found ? pos : neg)--;
    }
    if (pos == 0 || neg == 0) {
      out.skipped[contrast] += 1;
      continue;
    }
    term.queryRow = in.query_rows[i];
    term.label = found;
    term.keysBefore = static_cast<int32_t>(key);
    term.posCount = static_cast<int32_t>(pos);
    term.negCount = static_cast<int32_t>(neg);
    out.labelTerms.push_back(term);
    out.terms[contrast] += 1;
    out.weight[0][contrast] += spec.estimator == QKS_PER_PAIR ? static_cast<double>(pos) : 1.0;
    out.weight[1][contrast] += spec.estimator == QKS_PER_PAIR ? static_cast<double>(neg) : 1.0;
    if (spec.estimator != QKS_PER_QUERY) {
      out.largestGain = std::max({out.largestGain, static_cast<double>(pos), static_cast<double>(neg)});
    }
  }
  out.rowsRead += in.query_count + in.key_count;
  LabelRun run{};
  run.contrast = in.contrast;
  run.labels = labels.size();
  run.termCount = static_cast<int64_t>(out.labelTerms.size() - firstTerm);
  run.keyCount = in.key_count;
  // Places for now: the vectors may move until the last run is planned.
  run.termsAt = firstTerm;
  run.keysAt = firstKey;
  run.keyRows = in.key_rows;
  out.runs.push_back(run);
}

}  // namespace

qks_spec checkSpec(const qks_spec& spec) {
  if (spec.heads < 1 || spec.kv_heads < 1 || spec.head_dim < 1 || spec.contrasts < 1 ||
      spec.heads % spec.kv_heads != 0) {
    fail(QKS_E_ARGUMENT, "heads, kvHeads, headDim and contrasts must be positive, and kvHeads divide heads");
  }
  if (spec.head_dim > 4096) {
    fail(QKS_E_ARGUMENT, "headDim is above 4096");
  }
  if (spec.estimator < QKS_PER_QUERY || spec.estimator > QKS_SUM) {
    fail(QKS_E_ARGUMENT, "unknown estimator");
  }
  return spec;
}

void checkHeads(const int32_t* wanted, int32_t count, int32_t heads) {
  for (int32_t i = 0; i < count; i++) {
    if (wanted[i] < 0 || wanted[i] >= heads) {
      fail(QKS_E_RANGE, "heads[" + std::to_string(i) + "] is " + std::to_string(wanted[i]) + ", expected 0 to " +
                            std::to_string(heads - 1));
    }
  }
}

void prepareBatch(const qks_spec& spec, const qks_batch& in, Pool& pool, Batch& out) {
  const size_t contrasts = static_cast<size_t>(spec.contrasts);
  out.terms.assign(contrasts, 0);
  out.skipped.assign(contrasts, 0);
  for (auto& weight : out.weight) {
    weight.assign(contrasts, 0);
  }
  out.rowsRead = 0;
  out.largestGain = 1;
  PreparedBatch& v = out.view;
  v = PreparedBatch{};
  v.q = checkTensor(in.q, spec.heads, spec.head_dim, "q");
  v.k = checkTensor(in.k, spec.kv_heads, spec.head_dim, "k");
  v.headDim = spec.head_dim;
  v.heads = spec.heads;
  v.groupSize = spec.heads / spec.kv_heads;
  v.contrasts = spec.contrasts;
  v.estimator = spec.estimator;
  v.allowNonFinite = spec.allow_non_finite;
  prepareTerms(spec, in.terms, pool, out);
  out.runs.clear();
  out.labelTerms.clear();
  out.keyLabels.clear();
  for (int64_t i = 0; i < in.label_count; i++) {
    prepareRun(spec, in.labels[i], i, pool, out);
  }
  // The places grow from run to run, so that runs of a contrast stay in the order given; only empty ones may tie.
  std::sort(out.runs.begin(), out.runs.end(), [](const LabelRun& a, const LabelRun& b) {
    return std::tie(a.contrast, a.keysAt, a.termsAt) < std::tie(b.contrast, b.keysAt, b.termsAt);
  });
  out.runStart.assign(contrasts + 1, 0);
  out.labelStart.assign(contrasts + 1, 0);
  int64_t labelled = 0;
  for (LabelRun& run : out.runs) {
    run.terms = out.labelTerms.data() + run.termsAt;
    run.keyLabels = out.keyLabels.data() + run.keysAt;
    run.firstTerm = labelled;
    labelled += run.termCount;
    out.runStart[static_cast<size_t>(run.contrast) + 1]++;
    out.labelStart[static_cast<size_t>(run.contrast) + 1] += run.termCount;
  }
  for (size_t c = 0; c < contrasts; c++) {
    out.runStart[c + 1] += out.runStart[c];
    out.labelStart[c + 1] += out.labelStart[c];
  }
  v.order = out.order.data();
  v.start = out.start.data();
  v.runs = out.runs.data();
  v.runStart = out.runStart.data();
  v.labelStart = out.labelStart.data();
}

}  // namespace qkspace
