#include "cuda/svd/largest/null_values.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "common/flips_request.h"
#include "common/status.h"
#include "cuda/products/null_products.h"
#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/rows/range/nonfinite_rows.h"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/svd/largest/lanczos.h"

namespace qkspace {
namespace {

// Bytes of the matrices that are made before their singular values are taken, of rows in f16, and of signs.
constexpr size_t kMostMatrices = size_t{2} << 30, kMostRows = size_t{1} << 30, kMostSigns = size_t{256} << 20;

// Rows of a tensor on the device: those that are kept there.
const ResidentRows& residentOf(const qks_tensor& tensor, const char* name) {
  const ResidentRows* rows = residentRows(tensor.rows);
  if (!rows) {
    fail(QKS_E_ARGUMENT, std::string(name) + " must be resident");
  }
  return *rows;
}

// Heads and draws that are worked on together.
struct Share {
  int64_t heads, draws;
};

// A call: what it reads and where it works.
class NullValues {
 public:
  NullValues(Device& device, Transfer& transfer, const qks_flips_request& in, const ResidentRows& q,
             const ResidentRows& k, const FlipsShape& shape)
      : device_(device),
        transfer_(transfer),
        in_(in),
        q_(q),
        k_(k),
        shape_(shape),
        rows_(static_cast<int32_t>(in.rows)),
        share_(shareOf()),
        sent_(device.budget),
        half_(device.budget),
        signs_(device.budget),
        matrices_(device.budget),
        values_(device.budget) {}

  void run(const qks_cancel* cancel, double* out) {
    refuseNonFinite(q_, "q");
    refuseNonFinite(k_, "k");
    send();
    for (int64_t from = 0; from < in_.head_count; from += share_.heads) {
      const int64_t heads = std::min(share_.heads, in_.head_count - from);
      const HalfRows rows = halfRowsOf(from, heads);
      for (int64_t first = 0; first < in_.draws; first += share_.draws) {
        stopIfCancelled(cancel);
        const int64_t draws = std::min(share_.draws, in_.draws - first);
        makeMatrices(rows, from, heads, first, draws);
        takeValues(from, heads, first, draws, out);
      }
    }
  }

 private:
  Device& device_;
  Transfer& transfer_;
  const qks_flips_request& in_;
  const ResidentRows &q_, &k_;
  const FlipsShape shape_;
  const int32_t rows_;
  const Share share_;
  DeviceBuffer sent_, half_, signs_, matrices_, values_;
  // Into sent_.
  int32_t *heads_ = nullptr, *queryExponent_ = nullptr, *keyExponent_ = nullptr, *unit_ = nullptr;
  float* coefficients_ = nullptr;
  uint32_t* flips_ = nullptr;
  std::vector<float*> bases_;       // [components]: u [head_count, d, rank], then v; null for rank 0
  std::vector<int32_t> exponents_;  // [head_count] of the matrices

  int32_t rankOf(int32_t component) const { return in_.rank - in_.components + 1 + component; }
  int64_t flipWords() const { return (in_.draws + 31) / 32; }
  size_t headBytes() const {
    return 2 * sizeof(uint16_t) * static_cast<size_t>(rows_) * static_cast<size_t>(halfRowWidth(shape_.d));
  }

  // As many heads as their rows have room for, and as many draws as their matrices have.
  Share shareOf() const {
    const size_t room = device_.budget.available();
    const size_t matrix = static_cast<size_t>(shape_.d) * static_cast<size_t>(shape_.d) * sizeof(float);
    const size_t matrices = std::max<size_t>(1, std::min(kMostMatrices, room / 2) / matrix);
    const size_t signs = static_cast<size_t>(signWords(rows_)) * sizeof(uint32_t);
    auto least = [](size_t a, size_t b, int64_t most) {
      return std::max<int64_t>(1, std::min<int64_t>(most, static_cast<int64_t>(std::min(a, b))));
    };
    Share share{};
    share.draws = least(matrices, std::min(kMostSigns, room / 8) / signs, in_.draws);
    share.heads = least(std::min(kMostRows, room / 8) / headBytes(), matrices / static_cast<size_t>(share.draws),
                        std::min<int64_t>(in_.head_count, 65535));
    return share;
  }

  void refuseNonFinite(const ResidentRows& rows, const char* name) {
    const bool finite = std::all_of(rows.largest.begin(), rows.largest.end(), isFiniteMagnitude);
    HeadRow found;
    if (finite) {
      return;
    }
    std::vector<int32_t> all(static_cast<size_t>(rows_));
    std::iota(all.begin(), all.end(), 0);
    DeviceBuffer wanted(device_.budget);
    wanted.reserve(all.size() * sizeof(int32_t), "rows to look at");
    transfer_.bytes(all.data(), all.size() * sizeof(int32_t), wanted.get<char>());
    const DeviceRows there{rows.data.get<void>(), rows.shape.dtype, static_cast<int32_t>(rows.shape.shape[2]),
                           shape_.d};
    if (findNonFiniteRow(device_, there, wanted.get<int32_t>(), rows_, found)) {
      failNonFinite(name, found);
    }
  }

  // All that does not depend on heads and draws, in one buffer.
  void send() {
    float most = 0;
    for (int64_t r = 0; r < in_.rows; r++) {
      most = std::max(most, std::fabs(in_.coefficients[r]));
    }
    std::vector<int32_t> query, key;
    for (int64_t i = 0; i < in_.head_count; i++) {
      const size_t head = static_cast<size_t>(in_.heads[i]);
      query.push_back(halfExponent(q_.largest[head], 1));
      key.push_back(halfExponent(k_.largest[head / static_cast<size_t>(shape_.group)], most));
      exponents_.push_back(query.back() + key.back());
    }
    const size_t heads = static_cast<size_t>(in_.head_count), rows = static_cast<size_t>(rows_);
    const size_t flips = static_cast<size_t>(in_.units * flipWords());
    std::vector<std::vector<float>> bases;
    size_t numbers = 3 * heads + 2 * rows + flips;
    for (int32_t j = 0; j < in_.components; j++) {
      bases.push_back(firstDirections(rankOf(j)));
      numbers += bases.back().size();
    }
    sent_.reserve(numbers * sizeof(float), "rows, signs and directions of a test");
    char* at = sent_.get<char>();
    auto put = [&](auto*& to, const auto* from, size_t count) {
      static_assert(sizeof *from == sizeof(float));
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at);
      if (count > 0) {
        transfer_.bytes(from, count * sizeof *from, at);
        at += count * sizeof *from;
      }
    };
    put(heads_, in_.heads, heads);
    put(queryExponent_, query.data(), heads);
    put(keyExponent_, key.data(), heads);
    put(unit_, in_.unit, rows);
    put(coefficients_, in_.coefficients, rows);
    put(flips_, in_.flips, flips);
    for (const std::vector<float>& basis : bases) {
      bases_.push_back(nullptr);
      put(bases_.back(), basis.data(), basis.size());
    }
  }

  // The first `rank` of the removed directions of every head asked for, [head_count, d, rank] each for u and v.
  std::vector<float> firstDirections(int32_t rank) const {
    std::vector<float> out;
    out.reserve(static_cast<size_t>(2 * in_.head_count * shape_.d * rank));
    for (const double* from : {in_.u, in_.v}) {
      for (int64_t i = 0; i < in_.head_count * shape_.d; i++) {
        for (int32_t c = 0; c < rank; c++) {
          out.push_back(static_cast<float>(from[i * in_.rank + c]));
        }
      }
    }
    return out;
  }

  NullRows nullRows() const {
    return {{q_.data.get<void>(), q_.shape.dtype, shape_.heads, shape_.d},
            {k_.data.get<void>(), k_.shape.dtype, shape_.heads / shape_.group, shape_.d},
            coefficients_,
            shape_.group};
  }
  NullHeads headsFrom(int64_t from, int64_t count) const {
    return {heads_ + from, queryExponent_ + from, keyExponent_ + from, static_cast<int32_t>(count)};
  }

  HalfRows halfRowsOf(int64_t from, int64_t heads) {
    if (device_.plain) {
      return {};
    }
    half_.reserve(static_cast<size_t>(heads) * headBytes(), "rows of a test in f16");
    const int32_t width = halfRowWidth(shape_.d);
    uint16_t* const q = half_.get<uint16_t>();
    const HalfRows to{q, q + heads * rows_ * width, rows_, width, shape_.d};
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    makeHalfRows(device_.stream, nullRows(), headsFrom(from, heads), to);
    return to;
  }

  void makeMatrices(const HalfRows& rows, int64_t from, int64_t heads, int64_t first, int64_t draws) {
    const int32_t count = static_cast<int32_t>(draws);
    signs_.reserve(static_cast<size_t>(draws) * static_cast<size_t>(signWords(rows_)) * sizeof(uint32_t),
                   "signs of a test");
    matrices_.reserve(static_cast<size_t>(heads * draws) * static_cast<size_t>(shape_.d) *
                          static_cast<size_t>(shape_.d) * sizeof(float),
                      "null matrices");
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    spreadSigns(device_.stream, flips_, static_cast<int32_t>(flipWords()), unit_, rows_, first, count,
                signs_.get<uint32_t>());
    if (device_.plain) {
      sumNullsExactly(device_.stream, nullRows(), headsFrom(from, heads), rows_, signs_.get<uint32_t>(), count,
                      matrices_.get<float>());
    } else {
      sumNulls(device_.stream, device_, rows, static_cast<int32_t>(heads), signs_.get<uint32_t>(), count,
               matrices_.get<float>());
    }
  }

  void takeValues(int64_t from, int64_t heads, int64_t first, int64_t draws, double* out) {
    const int64_t each = heads * draws;
    values_.reserve(static_cast<size_t>(each * in_.components) * sizeof(float), "singular values");
    {
      const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
      for (int32_t j = 0; j < in_.components; j++) {
        const int64_t rank = rankOf(j), before = from * shape_.d * rank;
        const float* u = rank > 0 ? bases_[static_cast<size_t>(j)] + before : nullptr;
        const float* v = rank > 0 ? u + in_.head_count * shape_.d * rank : nullptr;
        largestSingularValues(device_, matrices_.get<float>(), each, shape_.d,
                              Deflation{u, v, static_cast<int>(rank), draws}, 0, values_.get<float>() + j * each);
      }
    }
    std::vector<float> landed(static_cast<size_t>(each * in_.components));
    check(cudaMemcpyAsync(landed.data(), values_.get<float>(), landed.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          device_.stream),
          "reading singular values");
    device_.stream.finish("reading singular values");
    for (int64_t h = 0; h < heads; h++) {
      for (int64_t b = 0; b < draws; b++) {
        for (int32_t j = 0; j < in_.components; j++) {
          const float value = landed[static_cast<size_t>((j * heads + h) * draws + b)];
          out[((from + h) * in_.draws + first + b) * in_.components + j] =
              std::ldexp(static_cast<double>(value), exponents_[static_cast<size_t>(from + h)]);
        }
      }
    }
  }
};

}  // namespace

void largestOfFlips(Device& device, Transfer& transfer, const qks_flips_request& in, const qks_cancel* cancel,
                    double* out) {
  device.use();
  const ResidentRows &q = residentOf(in.q, "q"), &k = residentOf(in.k, "k");
  const FlipsShape shape = checkFlipsRequest(in, q.shape, k.shape);
  if (in.head_count > 0) {
    NullValues(device, transfer, in, q, k, shape).run(cancel, out);
  }
}

}  // namespace qkspace
