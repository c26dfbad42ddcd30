#include "common/batch.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "common/blocks.h"
#include "common/row_checks.h"
#include "common/status.h"
#include "common/terms.h"

namespace qkspace {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 53;

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
