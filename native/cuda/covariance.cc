// A batch is summed chunk by chunk (chunks.h). While a chunk is summed in device.stream, the next one is on its way in
// device.copies, and the one after that is planned by the host and written to page-locked memory; the streams wait for
// each other by events, the host for nothing but page-locked memory:
//
//   host     plan 0, fill 0 | plan 1, fill 1 | plan 2, fill 2 | ..
//   copies             0    |           1    |           2    | ..    chunk i starts when i - 2 is summed
//   stream                        sum 0      |     sum 1      | ..    chunk i starts when i has arrived
//
// What the limit leaves beside the sums, resident tensors and the like is divided so:
//
//   1/2    rows: all that the batch can read, each brought once, if they fit; otherwise two berths of 1/4
//   2/16   indices of two chunks
//   1/8    partial sums of a launch
//   1/8    running sums of labels
//   1/8    stays free
//
// Each is capped. One term or label run that is larger than its share still goes through while the rest leaves room.
#include "cuda/covariance.h"

#include <algorithm>
#include <string>

#include "cuda/host_rows.h"
#include "cuda/sent_batch.h"
#include "cuda/slices.h"

namespace qkspace {
namespace {

// Partial sums of a launch take at most this, so that they stay near the cache that their sum is read from.
constexpr size_t kMostPartial = size_t{256} << 20;
constexpr size_t kMostLabelSums = size_t{512} << 20;
// Rows of a chunk: enough for launches that are worth their while, where no row is brought twice; where rows of
// earlier chunks go, the more a chunk has, the fewer are brought again.
constexpr size_t kRowsThatStay = size_t{64} << 20, kRowsThatGo = size_t{1} << 30;
// Indices of a chunk: some 300,000 pairs, so that a launch does not keep `cancel` waiting.
constexpr size_t kMostIndices = size_t{16} << 20;

constexpr size_t kAlignment = 256;
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void releaseAbove(DeviceBuffer& buffer, size_t bytes) {
  if (buffer.bytes() > bytes) buffer.release();
}

// Nothing that was put into the streams is left when it goes, whatever happened.
struct BothFinished {
  const Device& device;
  ~BothFinished() {
    cudaStreamSynchronize(device.copies);
    cudaStreamSynchronize(device.stream);
  }
};

int64_t termsOf(const PreparedBatch& b) { return b.start[b.contrasts]; }
int64_t runsOf(const PreparedBatch& b) { return b.runStart[b.contrasts]; }

BatchRows rowsOf(const RowView& view, const qks_tensor& tensor) {
  const ResidentRows* resident = residentRows(tensor.rows);
  return {view, static_cast<int32_t>(tensor.shape[2]), static_cast<int32_t>(tensor.shape[3]),
          resident ? resident->data.get<void>() : nullptr};
}

// No more rows than this are read: all that there are, or all that terms and runs name.
struct MostRows {
  int64_t q, k;
  explicit MostRows(const PreparedBatch& b) : q(2 * termsOf(b)), k(0) {
    if (termsOf(b) > 0)
      for (const TermSide& side : b.side) k += side.offsets[termsOf(b)];
    for (int64_t r = 0; r < runsOf(b); r++) {
      q += b.runs[r].termCount;
      k += b.runs[r].keyCount;
    }
    q = std::min(q, b.q.rows);
    k = std::min(k, b.k.rows);
  }
};

// Rows that the batch reads, ascending.
std::vector<int32_t> listed(const std::vector<uint8_t>& read) {
  std::vector<int32_t> rows;
  for (size_t row = 0; row < read.size(); row++)
    if (read[row]) rows.push_back(static_cast<int32_t>(row));
  return rows;
}

std::vector<int32_t> queriesRead(const PreparedBatch& b) {
  std::vector<uint8_t> read(static_cast<size_t>(b.q.rows), 0);
  for (int64_t t = 0; t < termsOf(b); t++)
    for (const TermSide& side : b.side) read[static_cast<size_t>(side.query[t])] = 1;
  for (int64_t r = 0; r < runsOf(b); r++)
    for (int64_t i = 0; i < b.runs[r].termCount; i++) read[static_cast<size_t>(b.runs[r].terms[i].queryRow)] = 1;
  return listed(read);
}

std::vector<int32_t> keysRead(const PreparedBatch& b) {
  std::vector<uint8_t> read(static_cast<size_t>(b.k.rows), 0);
  if (termsOf(b) > 0)
    for (const TermSide& side : b.side)
      for (int32_t j = 0; j < side.offsets[termsOf(b)]; j++) read[static_cast<size_t>(side.keys[j])] = 1;
  for (int64_t r = 0; r < runsOf(b); r++) {
    const LabelRun& run = b.runs[r];
    const int64_t keys = run.termCount > 0 ? run.terms[run.termCount - 1].keysBefore : 0;
    for (int64_t j = 0; j < keys; j++)
      if (run.keyLabels[j] >= 0) read[static_cast<size_t>(run.keyRows[j])] = 1;
  }
  return listed(read);
}

}  // namespace

size_t CovarianceRoom::workingBytes() const {
  size_t bytes = partial.bytes() + labelSums.bytes();
  for (const Berth& berth : berths) bytes += berth.rows.bytes() + berth.indices.bytes();
  return bytes;
}

void CovarianceRoom::release() {
  for (Berth& berth : berths) {
    berth.rows.release();
    berth.indices.release();
  }
  for (DeviceBuffer* buffer : {&partial, &labelSums, &batchSums, &flags}) buffer->release();
}

ResidentRows::ResidentRows(Device& device, Transfer& transfer, const qks_tensor& tensor, const qks_cancel* cancel)
    : data(device.budget), shape(tensor) {
  const RowView view = checkTensor(tensor, tensor.shape[2], tensor.shape[3], "tensor");
  const int64_t heads = tensor.shape[2], d = tensor.shape[3];
  data.reserve(static_cast<size_t>(view.rows * heads * d) * elementSize(tensor.dtype), "a resident tensor");
  transfer.rows(view, heads, d, nullptr, view.rows, data.get<char>(), cancel);
  device.copies.finish("copying to the device");
  shape.data = nullptr;
}

// What the device's memory has for each purpose.
struct CudaCovariance::Shares {
  size_t rows, indices, partial, labelSums;
};

// What all chunks of a batch have in common.
struct CudaCovariance::Plan {
  bool pairs16 = false;
  std::vector<Slice> terms, labels;
  int32_t mostLabels = 1;
  int64_t mostSlices = 1, mostLabelSlices = 1;  // of a launch
  size_t keysAt = 0;                            // where all rows stay: behind the queries
  ChunkLimits limits{};
};

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

CudaCovariance::Shares CudaCovariance::divideMemory() {
  const size_t free = std::min(device_.budget.limit, device_.budget.available() + room_.workingBytes());
  const Shares shares{free / 2, std::min(kMostIndices, free / 16), std::min(kMostPartial, free / 8),
                      std::min(kMostLabelSums, free / 8)};
  // Of batches that had more.
  for (CovarianceRoom::Berth& berth : room_.berths) releaseAbove(berth.indices, shares.indices);
  releaseAbove(room_.partial, shares.partial);
  releaseAbove(room_.labelSums, shares.labelSums);
  return shares;
}

CudaCovariance::Plan CudaCovariance::planOf(const PreparedBatch& b, const BatchRows& q, const BatchRows& k) {
  Plan plan;
  plan.pairs16 = !device_.plain && b.q.dtype != QKS_F32 && b.q.dtype == b.k.dtype && spec_.head_dim % 8 == 0 &&
                 onlyPairs(b, transfer_.pool());
  const int64_t tiles = 2 * spec_.heads * static_cast<int64_t>(outputTiles(spec_.head_dim));
  plan.terms = slicesOfTerms(b.start, b.contrasts, 0, termsOf(b), tiles, plan.pairs16 ? kPairSliceRows : kSliceRows);
  plan.labels = slicesOfRuns(b.runs, 0, runsOf(b), tiles, kSliceRows);

  const Shares shares = divideMemory();
  const size_t blockBytes = static_cast<size_t>(blockOffset(1, 0, spec_.heads, 0, spec_.head_dim)) * sizeof(float);
  for (int64_t r = 0; r < runsOf(b); r++) plan.mostLabels = std::max(plan.mostLabels, b.runs[r].labels);
  auto most = [](size_t share, size_t each) {
    return static_cast<int64_t>(std::max<size_t>(1, std::min<size_t>(65535, share / std::max<size_t>(1, each))));
  };
  const size_t runningSums = static_cast<size_t>(labelRoom(shape_, plan.mostLabels)) * sizeof(double);
  plan.mostSlices = most(shares.partial, blockBytes);
  plan.mostLabelSlices = std::min(plan.mostSlices, most(shares.labelSums, runningSums));

  const MostRows rows(b);
  plan.keysAt = q.resident() ? 0 : aligned(static_cast<size_t>(rows.q) * q.rowBytes());
  const size_t all = plan.keysAt + (k.resident() ? 0 : static_cast<size_t>(rows.k) * k.rowBytes());
  const bool stay = all <= shares.rows;
  const size_t berthRows = std::min(kRowsThatGo, shares.rows / 2);
  plan.limits = {stay ? kRowsThatStay : berthRows - std::min(kAlignment, berthRows), shares.indices, stay};

  auto &first = room_.berths[0].rows, &second = room_.berths[1].rows;
  if (stay) {
    releaseAbove(second, shares.rows - all);
    releaseAbove(first, shares.rows - second.bytes());
    reserveRows(room_.berths[0], all);
  } else {
    for (CovarianceRoom::Berth& berth : room_.berths) releaseAbove(berth.rows, shares.rows / 2);
    for (CovarianceRoom::Berth& berth : room_.berths) reserveRows(berth, berthRows);
  }
  const int64_t termSlices = static_cast<int64_t>(plan.terms.size());
  const int64_t labelSlices = static_cast<int64_t>(plan.labels.size());
  const int64_t together = std::max(std::min(termSlices, plan.mostSlices), std::min(labelSlices, plan.mostLabelSlices));
  if (!device_.plain) {
    room_.partial.reserve(static_cast<size_t>(together) * blockBytes, "partial sums");
    room_.labelSums.reserve(static_cast<size_t>(std::min(labelSlices, plan.mostLabelSlices)) * runningSums,
                            "running sums of labels");
  }
  return plan;
}

// Where both berths do not fit, the one that is asked for goes first.
void CudaCovariance::reserveRows(CovarianceRoom::Berth& berth, size_t bytes) {
  if (bytes <= berth.rows.bytes()) return;
  device_.copies.finish("copying to the device");
  device_.stream.finish("summing a batch");
  CovarianceRoom::Berth& other = room_.berths[&berth == &room_.berths[0] ? 1 : 0];
  berth.rows.release();
  if (bytes > device_.budget.available()) other.rows.release();
  berth.rows.reserve(bytes, "the batch's rows");
}

void CudaCovariance::add(const qks_batch& in, const qks_cancel* cancel) {
  device_.use();
  const Kept::Use use(room_);
  const BothFinished finished{device_};
  Batch& batch = room_.batch;
  prepareBatch(spec_, in, transfer_.pool(), batch);
  const PreparedBatch& b = batch.view;
  const size_t sumsBytes = static_cast<size_t>(sumsCount()) * sizeof(double);
  room_.flags.reserve(64, "flags");
  room_.batchSums.reserve(sumsBytes, "the batch's sums");
  double* sums = room_.batchSums.get<double>();
  uint32_t* flags = room_.flags.get<uint32_t>();
  BatchRows q = rowsOf(b.q, in.q), k = rowsOf(b.k, in.k);
  const Plan plan = planOf(b, q, k);
  auto sumAnew = [&](bool exactly) {
    check(cudaMemsetAsync(flags, 0, sizeof(uint32_t), device_.stream), "clearing flags");
    check(cudaMemsetAsync(sums, 0, sumsBytes, device_.stream), "clearing the sums");
    sum(b, plan, q, k, exactly, sums, cancel);
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    if (!spec_.allow_non_finite) findNonFinite(device_.stream, sums, sumsCount(), flags);
  };
  sumAnew(device_.plain);
  uint32_t raised = readFlags();
  if (raised & kBeyondF32) {
    // Products that f32 cannot hold: everything again, in f64.
    if (!spec_.allow_non_finite) refuseNonFiniteRows(b, q, k);
    sumAnew(true);
    raised = readFlags();
  }
  if (raised & kNotFinite) {
    refuseNonFiniteRows(b, q, k);
    fail(QKS_E_NON_FINITE, "a sum of products is beyond the range of float64");
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

void CudaCovariance::sum(const PreparedBatch& b, const Plan& plan, BatchRows& q, BatchRows& k, bool exactly,
                         double* sums, const qks_cancel* cancel) {
  Chunks chunks(b, plan.terms, plan.labels, plan.limits, q, k);
  Chunk chunk;
  for (int turn = 0; chunks.next(chunk); turn ^= 1) {
    stopIfCancelled(cancel);
    sumChunk(b, plan, chunk, room_.berths[turn], q, k, exactly, sums, cancel);
  }
}

void CudaCovariance::sumChunk(const PreparedBatch& b, const Plan& plan, const Chunk& chunk,
                              CovarianceRoom::Berth& berth, const BatchRows& q, const BatchRows& k, bool exactly,
                              double* sums, const qks_cancel* cancel) {
  check(cudaEventSynchronize(berth.indicesSent), "copying to the device");
  Blob blob(berth.sentIndices);
  const SentTerms terms(b, chunk.termFrom, chunk.termTo, q, k, transfer_.pool(), blob);
  const SentLabels labels(b, chunk.runFrom, chunk.runTo, q, k, blob);
  const size_t termSlicesAt = blob.add(chunk.terms), labelSlicesAt = blob.add(chunk.labels);
  const std::vector<Wave> termWaves = wavesOf(chunk.terms, plan.mostSlices, blob);
  const std::vector<Wave> labelWaves = wavesOf(chunk.labels, plan.mostLabelSlices, blob);
  if (blob.bytes() > berth.indices.bytes()) {
    device_.stream.finish("summing a batch");
    berth.indices.reserve(std::max(blob.bytes(), std::min(plan.limits.indices, 2 * blob.bytes())),
                          "the batch's indices");
  }
  const size_t keysAt = plan.limits.rowsStay ? plan.keysAt : aligned(q.bytesBrought());
  CovarianceRoom::Berth& rows = plan.limits.rowsStay ? room_.berths[0] : berth;
  if (!plan.limits.rowsStay) reserveRows(rows, keysAt + k.bytesBrought());
  char* const rowsAt = rows.rows.get<char>();

  // The chunk before the last was summed from the same berth.
  check(cudaStreamWaitEvent(device_.copies, berth.summed, 0), "waiting for an event");
  const char* base = berth.indices.get<char>();
  transfer_.pinned(berth.sentIndices.get<char>(), blob.bytes(), berth.indices.get<char>());
  check(cudaEventRecord(berth.indicesSent, device_.copies), "recording an event");
  auto send = [&](const BatchRows& from, char* to) {
    transfer_.rows(from.view(), from.heads(), from.d(), from.brought().data(),
                   static_cast<int64_t>(from.brought().size()),
                   to + static_cast<size_t>(from.firstBrought()) * from.rowBytes(), cancel);
  };
  if (!q.resident()) send(q, rowsAt);
  if (!k.resident()) send(k, rowsAt + keysAt);
  follow(device_.stream, device_.copies, berth.arrived);

  uint32_t* flags = room_.flags.get<uint32_t>();
  const DeviceRows deviceQ = q.at(rowsAt), deviceK = k.at(rowsAt + keysAt);
  const DeviceTerms sides[2] = {terms.at(base, 0), terms.at(base, 1)};
  const DeviceLabels deviceLabels = labels.at(base);
  auto slicesAt = [&](size_t at) { return reinterpret_cast<const Slice*>(base + at); };
  auto ints = [&](size_t at) { return reinterpret_cast<const int32_t*>(base + at); };
  float* partial = room_.partial.get<float>();

  auto each = [&](const std::vector<Wave>& waves, size_t at, auto&& launchSums) {
    for (const Wave& wave : waves) {
      stopIfCancelled(cancel);
      const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
      launchSums(slicesAt(at) + wave.from, wave.to - wave.from);
      addPartial(device_.stream, shape_, partial, ints(wave.contrastAt), ints(wave.firstAt), wave.contrasts, sums);
    }
  };
  // Slow: waited for, so that it can be stopped.
  auto eachSlowly = [&](const std::vector<Slice>& slices, size_t at, auto&& launchSums) {
    constexpr int32_t kTogether = 8;
    const int32_t count = static_cast<int32_t>(slices.size());
    for (int32_t from = 0; from < count; from += kTogether) {
      stopIfCancelled(cancel);
      {
        const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
        launchSums(slicesAt(at) + from, std::min(kTogether, count - from));
      }
      device_.stream.finish("summing a batch in f64");
    }
  };
  if (exactly) {
    eachSlowly(chunk.terms, termSlicesAt, [&](const Slice* slices, int32_t count) {
      sumTermsExactly(device_.stream, shape_, deviceQ, deviceK, sides, slices, count, sums);
    });
    eachSlowly(chunk.labels, labelSlicesAt, [&](const Slice* slices, int32_t count) {
      sumLabelsExactly(device_.stream, shape_, deviceQ, deviceK, deviceLabels, slices, count, sums);
    });
  } else {
    each(termWaves, termSlicesAt, [&](const Slice* slices, int32_t count) {
      (plan.pairs16 ? sumPairs16 : sumTerms)(device_.stream, shape_, deviceQ, deviceK, sides, slices, count, partial,
                                             flags);
    });
    each(labelWaves, labelSlicesAt, [&](const Slice* slices, int32_t count) {
      sumLabels(device_.stream, shape_, deviceQ, deviceK, deviceLabels, slices, count, plan.mostLabels,
                room_.labelSums.get<double>(), partial, flags);
    });
  }
  check(cudaEventRecord(berth.summed, device_.stream), "recording an event");
}

void CudaCovariance::refuseNonFiniteRows(const PreparedBatch& b, const BatchRows& q, const BatchRows& k) {
  auto look = [&](const char* name, const BatchRows& rows, const std::vector<int32_t>& read) {
    HeadRow found;
    if (rows.resident()) {
      DeviceBuffer& list = room_.berths[0].indices;
      list.reserve(std::max<size_t>(1, read.size()) * sizeof(int32_t), "rows to look at");
      transfer_.bytes(read.data(), read.size() * sizeof(int32_t), list.get<char>());
      if (!findNonFiniteRow(device_, rows.at(nullptr), list.get<int32_t>(), static_cast<int64_t>(read.size()), found))
        return;
    } else if (!findNonFiniteHostRow(rows.view(), rows.heads(), rows.d(), read, transfer_.pool(), found)) {
      return;
    }
    fail(QKS_E_NON_FINITE, std::string(name) + " is not finite at head " + std::to_string(found.head) + ", row " +
                               std::to_string(found.row));
  };
  look("q", q, queriesRead(b));
  look("k", k, keysRead(b));
}

void CudaCovariance::merge(const qks_moments& in) {
  device_.use();
  const Kept::Use use(room_);
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
