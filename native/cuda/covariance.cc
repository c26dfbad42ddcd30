#include "cuda/covariance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "cuda/sent_batch.h"
#include "cuda/slices.h"

namespace qkspace {
namespace {

// Partial sums of a launch take at most this, so that they stay near the cache that their sum is read from.
constexpr size_t kMostPartial = size_t{256} << 20;
constexpr size_t kMostLabelSums = size_t{512} << 20;
// Rows that a batch reads are gathered on the host where they are fewer than three quarters of all.
constexpr int64_t kGatherNumerator = 3, kGatherDenominator = 4;

}  // namespace

ResidentRows::ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel)
    : data(device.budget), shape(tensor) {
  const RowView view = checkTensor(tensor, tensor.shape[2], tensor.shape[3], "tensor");
  const int64_t heads = tensor.shape[2], d = tensor.shape[3];
  data.reserve(static_cast<size_t>(view.rows * heads * d) * elementSize(tensor.dtype), "a resident tensor");
  transfer.rows(view, heads, d, nullptr, view.rows, data.get<char>(), cancel);
  device.copies.finish("copying to the device");
  shape.data = nullptr;
}

// One tensor of a batch: which of its rows are read, and where they are on the device.
struct CudaCovariance::Rows {
  const RowView& view;
  int32_t heads, d;
  const ResidentRows* resident;
  DeviceBuffer& room;
  std::vector<int32_t> used;    // rows that the batch reads, ascending
  std::vector<int32_t> wanted;  // rows on the device, ascending; empty = all
  std::vector<int32_t> slot;    // of a row, where not all are there

  Rows(const qks_tensor& tensor, const RowView& view, DeviceBuffer& room)
      : view(view), heads(static_cast<int32_t>(tensor.shape[2])), d(static_cast<int32_t>(tensor.shape[3])),
        resident(residentRows(tensor.rows)), room(room) {}

  size_t rowBytes() const { return static_cast<size_t>(heads) * static_cast<size_t>(d) * elementSize(view.dtype); }
  DeviceRows onDevice() const {
    return {resident ? resident->data.get<void>() : room.get<void>(), view.dtype, heads, d};
  }
  int32_t at(int32_t row) const { return slot.empty() ? row : slot[static_cast<size_t>(row)]; }

  // Brings `rows` (ascending; null = those that the batch reads) to the device.
  void bring(Transfer& transfer, const std::vector<int32_t>* rows, const qks_cancel* cancel) {
    if (resident) return;
    const std::vector<int32_t>& some = rows ? *rows : used;
    const bool all = !rows && static_cast<int64_t>(some.size()) * kGatherDenominator >= view.rows * kGatherNumerator;
    wanted = all ? std::vector<int32_t>() : some;
    slot.clear();
    if (!all) {
      slot.resize(static_cast<size_t>(view.rows));
      for (size_t i = 0; i < some.size(); i++) slot[static_cast<size_t>(some[i])] = static_cast<int32_t>(i);
    }
    const int64_t count = all ? view.rows : static_cast<int64_t>(some.size());
    room.reserve(std::max<size_t>(1, static_cast<size_t>(count) * rowBytes()), "the batch's rows");
    transfer.rows(view, heads, d, all ? nullptr : wanted.data(), count, room.get<char>(), cancel);
  }
};

// Explicit terms [from, to) in order of contrast, and label runs, that are summed together; with the rows that they
// read where not all of the batch's are on the device at once.
struct CudaCovariance::Chunk {
  int64_t termFrom = 0, termTo = 0, runFrom = 0, runTo = 0;
  bool whole = true;
  std::vector<int32_t> qRows, kRows;
};

namespace {

// Calls `query` and `key` with every row that term `order[i]` reads.
template <typename Query, typename Key>
void rowsOfTerm(const PreparedBatch& b, int64_t i, Query&& query, Key&& key) {
  const int32_t t = b.order[i];
  for (const TermSide& side : b.side) {
    query(side.query[t]);
    for (int32_t j = side.offsets[t]; j < side.offsets[t + 1]; j++) key(side.keys[j]);
  }
}

template <typename Query, typename Key>
void rowsOfRun(const LabelRun& run, Query&& query, Key&& key) {
  if (run.termCount == 0) return;
  for (int64_t i = 0; i < run.termCount; i++) query(run.terms[i].queryRow);
  const int64_t keys = run.terms[run.termCount - 1].keysBefore;
  for (int64_t j = 0; j < keys; j++)
    if (run.keyLabels[j] >= 0) key(run.keyRows[j]);
}

// Which rows have been met, and the list of them.
struct Met {
  std::vector<uint8_t> seen;
  std::vector<int32_t> rows;
  explicit Met(int64_t count) : seen(static_cast<size_t>(count), 0) {}
  void operator()(int32_t row) {
    if (seen[static_cast<size_t>(row)]) return;
    seen[static_cast<size_t>(row)] = 1;
    rows.push_back(row);
  }
  std::vector<int32_t> take() {
    std::sort(rows.begin(), rows.end());
    for (int32_t row : rows) seen[static_cast<size_t>(row)] = 0;
    return std::move(rows);
  }
};

}  // namespace

CudaCovariance::CudaCovariance(const qks_spec& spec, Device& device, Transfer& transfer, CovarianceRoom& room)
    : spec_(checkSpec(spec)), shape_{spec.heads, spec.kv_heads, spec.head_dim}, device_(device), transfer_(transfer),
      room_(room), sums_(device.budget) {
  if (spec.heads > 32767) fail(QKS_E_ARGUMENT, "heads is above 32767");
  terms_.assign(static_cast<size_t>(spec.contrasts), 0);
  skipped_ = weight_[0] = weight_[1] = terms_;
  sums_.reserve(static_cast<size_t>(sumsCount()) * sizeof(double), "the accumulated sums");
  check(cudaMemsetAsync(sums_.get<double>(), 0, static_cast<size_t>(sumsCount()) * sizeof(double), device.stream),
        "clearing the sums");
}

int64_t CudaCovariance::sumsCount() const { return blockOffset(spec_.contrasts, 0, spec_.heads, 0, spec_.head_dim); }

uint32_t CudaCovariance::readFlags() {
  room_.answer.reserve(16);
  check(cudaMemcpyAsync(room_.answer.get<uint32_t>(), room_.flags.get<uint32_t>(), sizeof(uint32_t),
                        cudaMemcpyDeviceToHost, device_.stream),
        "reading flags");
  device_.stream.finish("summing a batch");
  return *room_.answer.get<uint32_t>();
}

// One chunk where everything fits beside what is there; otherwise as many terms a chunk as fit.
std::vector<CudaCovariance::Chunk> CudaCovariance::chunksOf(const PreparedBatch& b, const Rows& q, const Rows& k) const {
  Chunk all;
  all.termTo = b.start[b.contrasts];
  all.runTo = b.runStart[b.contrasts];
  const MemoryBudget& budget = device_.budget;
  const size_t free = budget.limit - std::min(budget.limit, budget.used) + room_.q.bytes() + room_.k.bytes();
  // Indices, partial sums and running sums of labels have to fit too.
  const size_t forRows = free / 2;
  auto need = [](const Rows& rows, int64_t count) {
    return rows.resident ? size_t{0} : static_cast<size_t>(count) * rows.rowBytes();
  };
  if (need(q, std::max<int64_t>(q.view.rows, 1)) + need(k, std::max<int64_t>(k.view.rows, 1)) <= forRows ||
      (q.resident && k.resident))
    return {all};

  std::vector<Chunk> chunks;
  Met queries(q.view.rows), keys(k.view.rows);
  Chunk chunk;
  chunk.whole = false;
  auto size = [&] {
    return need(q, static_cast<int64_t>(queries.rows.size())) + need(k, static_cast<int64_t>(keys.rows.size()));
  };
  auto close = [&](int64_t term, int64_t run) {
    chunk.termTo = term;
    chunk.runTo = run;
    if (chunk.termFrom == term && chunk.runFrom == run) return;
    chunk.qRows = queries.take();
    chunk.kRows = keys.take();
    chunks.push_back(std::move(chunk));
    chunk = Chunk();
    chunk.whole = false;
    chunk.termFrom = term;
    chunk.runFrom = run;
  };
  for (int64_t i = 0; i < all.termTo; i++) {
    rowsOfTerm(b, i, queries, keys);
    // The next term may need as many rows as this one; a chunk ends while there is room for it.
    if (size() > forRows / 2) close(i + 1, 0);
  }
  for (int64_t r = 0; r < all.runTo; r++) {
    rowsOfRun(b.runs[r], queries, keys);
    if (size() > forRows / 2) close(all.termTo, r + 1);
  }
  close(all.termTo, all.runTo);
  return chunks;
}

void CudaCovariance::add(const qks_batch& in, const qks_cancel* cancel) {
  device_.use();
  Batch& batch = room_.batch;
  prepareBatch(spec_, in, batch);
  const PreparedBatch& b = batch.view;
  Rows q(in.q, b.q, room_.q), k(in.k, b.k, room_.k);
  {
    Met queries(b.q.rows), keys(b.k.rows);
    for (int64_t i = 0; i < b.start[b.contrasts]; i++) rowsOfTerm(b, i, queries, keys);
    for (int64_t r = 0; r < b.runStart[b.contrasts]; r++) rowsOfRun(b.runs[r], queries, keys);
    q.used = queries.take();
    k.used = keys.take();
  }
  room_.flags.reserve(64, "flags");
  const size_t sumsBytes = static_cast<size_t>(sumsCount()) * sizeof(double);
  const std::vector<Chunk> chunks = chunksOf(b, q, k);
  room_.batchSums.reserve(sumsBytes, "the batch's sums");
  double* sums = room_.batchSums.get<double>();
  check(cudaMemsetAsync(sums, 0, sumsBytes, device_.stream), "clearing the sums");
  for (const Chunk& chunk : chunks) {
    stopIfCancelled(cancel);
    double* own = sums;
    if (chunks.size() > 1) {
      room_.chunkSums.reserve(sumsBytes, "the batch's sums");
      own = room_.chunkSums.get<double>();
      check(cudaMemsetAsync(own, 0, sumsBytes, device_.stream), "clearing the sums");
    }
    addChunk(b, chunk, q, k, own, cancel);
    if (!spec_.allow_non_finite) {
      const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
      check(cudaMemsetAsync(room_.flags.get<uint32_t>(), 0, sizeof(uint32_t), device_.stream), "clearing flags");
      findNonFinite(device_.stream, own, sumsCount(), room_.flags.get<uint32_t>());
    }
    if (!spec_.allow_non_finite && readFlags() & kNotFinite) reportNonFinite(q, k);
    if (own != sums) {
      const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
      addSums(device_.stream, own, sumsCount(), sums);
    }
  }
  stopIfCancelled(cancel);
  {
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    addSums(device_.stream, sums, sumsCount(), sums_.get<double>());
  }
  device_.stream.finish("adding a batch's sums");
  for (size_t c = 0; c < static_cast<size_t>(spec_.contrasts); c++) {
    terms_[c] += batch.terms[c];
    skipped_[c] += batch.skipped[c];
    for (int s = 0; s < 2; s++) weight_[s][c] += batch.weight[s][c];
  }
}

void CudaCovariance::addChunk(const PreparedBatch& b, const Chunk& chunk, Rows& q, Rows& k, double* sums,
                              const qks_cancel* cancel) {
  q.bring(transfer_, chunk.whole ? nullptr : &chunk.qRows, cancel);
  k.bring(transfer_, chunk.whole ? nullptr : &chunk.kRows, cancel);
  auto slotOf = [](const Rows& rows) { return [&rows](int32_t row) { return rows.at(row); }; };
  Blob blob;
  const auto qSlot = slotOf(q);
  const auto kSlot = slotOf(k);
  const SentTerms terms(b, chunk.termFrom, chunk.termTo, qSlot, kSlot, blob);
  const SentLabels labels(b, chunk.runFrom, chunk.runTo, qSlot, kSlot, blob);
  const bool pairs16 = terms.pairs && b.q.dtype != QKS_F32 && b.q.dtype == b.k.dtype && spec_.head_dim % 8 == 0;

  const int64_t tiles = 2 * spec_.heads * static_cast<int64_t>(outputTiles(spec_.head_dim));
  const std::vector<Slice> termSlices =
      slicesOfTerms(b.start, b.contrasts, chunk.termFrom, chunk.termTo, tiles, pairs16 ? kPairSliceRows : kSliceRows);
  const std::vector<Slice> labelSlices = slicesOfRuns(b.runs, chunk.runFrom, chunk.runTo, tiles, kSliceRows);
  const size_t blockBytes = static_cast<size_t>(blockOffset(1, 0, spec_.heads, 0, spec_.head_dim)) * sizeof(float);
  const int64_t mostSlices = std::max<int64_t>(1, std::min<int64_t>(65535, static_cast<int64_t>(kMostPartial / blockBytes)));
  const int64_t room = labelRoom(shape_, labels.mostLabels);
  const int64_t mostLabelSlices = std::max<int64_t>(
      1, std::min(mostSlices, static_cast<int64_t>(kMostLabelSums / sizeof(double)) / std::max<int64_t>(1, room)));
  const size_t termSlicesAt = blob.add(termSlices), labelSlicesAt = blob.add(labelSlices);
  const std::vector<Wave> termWaves = wavesOf(termSlices, mostSlices, blob);
  const std::vector<Wave> labelWaves = wavesOf(labelSlices, mostLabelSlices, blob);
  const char* base = blob.send(transfer_, room_.indices);

  uint32_t* flags = room_.flags.get<uint32_t>();
  check(cudaMemsetAsync(flags, 0, sizeof(uint32_t), device_.stream), "clearing flags");
  const DeviceRows deviceQ = q.onDevice(), deviceK = k.onDevice();
  const DeviceTerms sides[2] = {terms.at(base, 0), terms.at(base, 1)};
  const DeviceLabels deviceLabels = labels.at(base);
  auto slicesAt = [&](size_t at) { return reinterpret_cast<const Slice*>(base + at); };

  auto each = [&](const std::vector<Wave>& waves, size_t at, auto&& sum) {
    for (const Wave& wave : waves) {
      stopIfCancelled(cancel);
      const int32_t count = wave.to - wave.from;
      room_.partial.reserve(static_cast<size_t>(count) * blockBytes, "partial sums");
      {
        const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
        sum(slicesAt(at) + wave.from, count);
        addPartial(device_.stream, shape_, room_.partial.get<float>(),
                   reinterpret_cast<const int32_t*>(base + wave.contrastAt),
                   reinterpret_cast<const int32_t*>(base + wave.firstAt), wave.contrasts, sums);
      }
      device_.stream.finish("summing a batch");
    }
  };
  if (!device_.plain) {
    each(termWaves, termSlicesAt, [&](const Slice* slices, int32_t count) {
      (pairs16 ? sumPairs16 : sumTerms)(device_.stream, shape_, deviceQ, deviceK, sides, slices, count,
                                        room_.partial.get<float>(), flags);
    });
    each(labelWaves, labelSlicesAt, [&](const Slice* slices, int32_t count) {
      room_.labelSums.reserve(static_cast<size_t>(room * count) * sizeof(double), "running sums of labels");
      sumLabels(device_.stream, shape_, deviceQ, deviceK, deviceLabels, slices, count, labels.mostLabels,
                room_.labelSums.get<double>(), room_.partial.get<float>(), flags);
    });
    if (!(readFlags() & kBeyondF32)) return;
  }

  // Products that f32 cannot hold: everything again, in f64.
  const size_t bytes = static_cast<size_t>(sumsCount()) * sizeof(double);
  check(cudaMemsetAsync(sums, 0, bytes, device_.stream), "clearing the sums");
  auto slow = [&](const std::vector<Slice>& slices, size_t at, auto&& sum) {
    constexpr int32_t kTogether = 8;
    const int32_t count = static_cast<int32_t>(slices.size());
    for (int32_t from = 0; from < count; from += kTogether) {
      stopIfCancelled(cancel);
      {
        const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
        sum(slicesAt(at) + from, std::min(kTogether, count - from));
      }
      device_.stream.finish("summing a batch in f64");
    }
  };
  slow(termSlices, termSlicesAt, [&](const Slice* slices, int32_t count) {
    sumTermsExactly(device_.stream, shape_, deviceQ, deviceK, sides, slices, count, sums);
  });
  slow(labelSlices, labelSlicesAt, [&](const Slice* slices, int32_t count) {
    sumLabelsExactly(device_.stream, shape_, deviceQ, deviceK, deviceLabels, slices, count, sums);
  });
}

void CudaCovariance::reportNonFinite(const Rows& q, const Rows& k) {
  for (const Rows* rows : {&q, &k}) {
    const std::vector<int32_t>& used = rows->wanted.empty() ? rows->used : rows->wanted;
    std::vector<int32_t> slots;
    for (int32_t row : used) slots.push_back(rows->at(row));
    room_.indices.reserve(std::max<size_t>(1, slots.size()) * sizeof(int32_t), "rows to look at");
    transfer_.bytes(slots.data(), slots.size() * sizeof(int32_t), room_.indices.get<char>());
    HeadRow found;
    if (!findNonFiniteRow(device_, rows->onDevice(), room_.indices.get<int32_t>(), static_cast<int64_t>(slots.size()), found))
      continue;
    const int32_t row = rows->wanted.empty() ? found.row : rows->wanted[static_cast<size_t>(found.row)];
    fail(QKS_E_NON_FINITE, std::string(rows == &q ? "q" : "k") + " is not finite at head " +
                               std::to_string(found.head) + ", row " + std::to_string(row));
  }
  fail(QKS_E_NON_FINITE, "a sum of products is beyond the range of float64");
}

void CudaCovariance::merge(const qks_moments& in) {
  device_.use();
  const int64_t d = spec_.head_dim, heads = spec_.heads;
  std::vector<double> all(static_cast<size_t>(sumsCount()));
  for (int64_t c = 0; c < spec_.contrasts; c++)
    for (int64_t h = 0; h < heads; h++)
      for (int32_t s = 0; s < 2; s++) {
        const int64_t from = c * heads + h;
        double* to = all.data() + blockOffset(c, static_cast<int32_t>(h), spec_.heads, s, spec_.head_dim);
        std::copy_n(in.side[s].q + from * d, d, to);
        std::copy_n(in.side[s].k + from * d, d, to + d);
        std::copy_n(in.side[s].qk + from * d * d, d * d, to + 2 * d);
      }
  room_.batchSums.reserve(all.size() * sizeof(double), "sums to be merged");
  transfer_.bytes(all.data(), all.size() * sizeof(double), room_.batchSums.get<char>());
  addSums(device_.stream, room_.batchSums.get<double>(), sumsCount(), sums_.get<double>());
  device_.stream.finish("merging sums");
  for (size_t c = 0; c < static_cast<size_t>(spec_.contrasts); c++) {
    terms_[c] += in.terms[c];
    skipped_[c] += in.skipped[c];
    for (int s = 0; s < 2; s++) weight_[s][c] += in.side[s].weight[c];
  }
}

void CudaCovariance::read(const int32_t* wanted, int32_t count, const qks_moments& out) {
  device_.use();
  checkHeads(wanted, count, spec_.heads);
  const int64_t d = spec_.head_dim, both = 2 * blockSize(spec_.head_dim);
  room_.answer.reserve(static_cast<size_t>(both * count) * sizeof(double));
  double* landed = room_.answer.get<double>();
  for (int64_t c = 0; c < spec_.contrasts; c++) {
    out.terms[c] = terms_[static_cast<size_t>(c)];
    out.skipped[c] = skipped_[static_cast<size_t>(c)];
    for (int s = 0; s < 2; s++) out.side[s].weight[c] = weight_[s][static_cast<size_t>(c)];
    for (int32_t i = 0; i < count; i++)
      check(cudaMemcpyAsync(landed + i * both,
                            sums_.get<double>() + blockOffset(c, wanted[i], spec_.heads, 0, spec_.head_dim),
                            static_cast<size_t>(both) * sizeof(double), cudaMemcpyDeviceToHost, device_.stream),
            "reading sums");
    device_.stream.finish("reading sums");
    for (int32_t i = 0; i < count; i++)
      for (int s = 0; s < 2; s++) {
        const double* from = landed + i * both + s * blockSize(spec_.head_dim);
        const int64_t to = c * count + i;
        std::copy_n(from, d, out.side[s].q + to * d);
        std::copy_n(from + d, d, out.side[s].k + to * d);
        std::copy_n(from + 2 * d, d * d, out.side[s].qk + to * d * d);
      }
  }
}

}  // namespace qkspace
