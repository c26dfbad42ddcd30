#include "common/terms.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "common/blocks.h"
#include "common/row_checks.h"
#include "common/status.h"

namespace qkspace {
namespace {

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

}  // namespace

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
      // The current contrast's weight stays in a register, since the terms of a contrast usually follow each other.
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

}  // namespace qkspace
