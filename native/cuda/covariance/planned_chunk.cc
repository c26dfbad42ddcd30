#include "cuda/covariance/planned_chunk.h"

#include <limits>
#include <utility>

namespace qkspace {
namespace {

BroughtRows broughtOf(const BatchRows& rows) { return {rows.brought(), rows.firstBrought()}; }

// Slices of label terms, counting those of the whole chunk.
std::vector<Slice> pairsOfLabels(const Chunk& chunk, const SentLabels& labels) {
  std::vector<Slice> pairs = chunk.labels;
  for (Slice& slice : pairs) {
    const int32_t first = labels.deviceRuns[static_cast<size_t>(slice.run)].firstTerm;
    slice.from += first;
    slice.to += first;
  }
  return pairs;
}

}  // namespace

PlannedChunk planChunk(Chunk chunk, const PreparedBatch& batch, const CovariancePlan& plan, BatchRows& q, BatchRows& k,
                       bool exactly, Pool& pool, int threads, PinnedBuffer& memory) {
  const bool weights = exactly || !plan.forms.unitQueries;
  const TermArrays wanted[2] = {{exactly || plan.made[0], weights}, {exactly || plan.made[1], weights}};
  Blob blob(memory);
  const SentTerms terms(batch, chunk.termFrom, chunk.termTo, q, k, wanted, pool, threads, blob);
  SentLabels labels(batch, chunk.runFrom, chunk.runTo, q, k, blob);
  const std::vector<Slice> labelPairs = pairsOfLabels(chunk, labels);
  const size_t termSlicesAt = blob.add(chunk.terms), labelSlicesAt = blob.add(chunk.labels);
  const size_t labelPairsAt = blob.add(labelPairs);
  const bool made = plan.made[0] || plan.made[1];
  const int64_t most = made ? plan.mostPairs : std::numeric_limits<int32_t>::max();
  std::vector<Wave> termWaves = wavesOf(chunk.terms, plan.mostSlices, most, blob);
  std::vector<Wave> labelWaves = wavesOf(labelPairs, plan.mostLabelSlices, plan.mostPairs, blob);
  return {std::move(chunk),     broughtOf(q),          broughtOf(k),  terms,
          std::move(labels),    termSlicesAt,          labelSlicesAt, labelPairsAt,
          std::move(termWaves), std::move(labelWaves), blob.bytes()};
}

}  // namespace qkspace
