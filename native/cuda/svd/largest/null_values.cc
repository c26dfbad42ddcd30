#include "cuda/svd/largest/null_values.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

#include "common/flips_request.h"
#include "common/status.h"
#include "cuda/products/null_products.h"
#include "cuda/products/sums.h"
#include "cuda/rows/range/nonfinite_rows.h"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/svd/largest/lanczos.h"

namespace qkspace {
namespace {

// Bytes of the matrices that are made before their singular values are taken.
constexpr size_t kMostMatrices = size_t{1} << 30;
// Bytes of signed coefficients that are made, and sent, at once.
constexpr int64_t kMostCoefficients = int64_t{256} << 20;

// Rows of a tensor on the device: those that are kept there.
const ResidentRows& residentOf(const qks_tensor& tensor, const char* name) {
  const ResidentRows* rows = residentRows(tensor.rows);
  if (!rows) {
    fail(QKS_E_ARGUMENT, std::string(name) + " must be resident");
  }
  return *rows;
}

void refuseNonFinite(Device& device, const DeviceRows& rows, const int32_t* wanted, int64_t count, const char* name) {
  HeadRow found;
  if (findNonFiniteRow(device, rows, wanted, count, found)) {
    failNonFinite(name, found);
  }
}

// Coefficients of the draws from `first` on, [draws, rows], with the signs of their units.
std::vector<float> signedCoefficients(const qks_flips_request& r, int64_t first, int64_t draws) {
  const int64_t words = (r.draws + 31) / 32;
  std::vector<float> out(static_cast<size_t>(draws * r.rows));
  for (int64_t b = 0; b < draws; b++) {
    const int64_t draw = first + b;
    float* to = out.data() + b * r.rows;
    for (int64_t row = 0; row < r.rows; row++) {
      const bool turned = (r.flips[r.unit[row] * words + draw / 32] >> (draw % 32)) & 1u;
      to[row] = turned ? -r.coefficients[row] : r.coefficients[row];
    }
  }
  return out;
}

// The first `rank` of the removed directions of every head asked for, [head_count, d, rank] each for u and v.
std::vector<float> firstDirections(const qks_flips_request& r, int64_t d, int32_t rank) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(2 * r.head_count * d * rank));
  for (const double* from : {r.u, r.v}) {
    for (int64_t i = 0; i < r.head_count * d; i++) {
      for (int32_t c = 0; c < rank; c++) {
        out.push_back(static_cast<float>(from[i * r.rank + c]));
      }
    }
  }
  return out;
}

}  // namespace

void largestOfFlips(Device& device, Transfer& transfer, const qks_flips_request& in, const qks_cancel* cancel,
                    double* out) {
  device.use();
  const ResidentRows &q = residentOf(in.q, "q"), &k = residentOf(in.k, "k");
  const FlipsShape shape = checkFlipsRequest(in, q.shape, k.shape);
  const int32_t heads = shape.heads, d = shape.d;
  const int32_t rows = static_cast<int32_t>(in.rows);
  if (in.head_count == 0) {
    return;
  }

  DeviceBuffer indices(device.budget), coefficients(device.budget), matrices(device.budget), values(device.budget),
      flags(device.budget);
  std::vector<DeviceBuffer> bases;
  for (int32_t j = 0; j < in.components; j++) {
    bases.emplace_back(device.budget);
    const std::vector<float> directions = firstDirections(in, d, in.rank - in.components + 1 + j);
    if (!directions.empty()) {
      bases.back().reserve(directions.size() * sizeof(float), "removed directions");
      transfer.bytes(directions.data(), directions.size() * sizeof(float), bases.back().get<char>());
    }
  }
  // Row r of q against row r of k.
  std::vector<int32_t> each(static_cast<size_t>(rows));
  std::iota(each.begin(), each.end(), 0);
  indices.reserve(each.size() * sizeof(int32_t), "rows of products");
  transfer.bytes(each.data(), each.size() * sizeof(int32_t), indices.get<char>());
  flags.reserve(64, "flags");
  check(cudaMemsetAsync(flags.get<uint32_t>(), 0, sizeof(uint32_t), device.stream), "clearing flags");

  const size_t matrix = static_cast<size_t>(d) * static_cast<size_t>(d) * sizeof(float);
  const size_t room = std::min(kMostMatrices, device.budget.available() / 2);
  const int64_t together =
      std::min({in.draws, std::max<int64_t>(1, kMostCoefficients / (in.rows * static_cast<int64_t>(sizeof(float)))),
                std::max<int64_t>(1, static_cast<int64_t>(room / matrix))});
  coefficients.reserve(static_cast<size_t>(together * in.rows) * sizeof(float), "weights of products");
  const size_t headBytes = static_cast<size_t>(together) * matrix;
  const int64_t headsTogether = std::max<int64_t>(1, static_cast<int64_t>(room / headBytes));
  matrices.reserve(headBytes * static_cast<size_t>(std::min<int64_t>(headsTogether, in.head_count)),
                   "permuted matrices");
  const int64_t columns = in.head_count * in.components;
  values.reserve(static_cast<size_t>(columns * together) * sizeof(float), "singular values");
  bool looked = false;
  for (int64_t first = 0; first < in.draws; first += together) {
    const int64_t draws = std::min(together, in.draws - first);
    const std::vector<float> weights = signedCoefficients(in, first, draws);
    transfer.bytes(weights.data(), weights.size() * sizeof(float), coefficients.get<char>());
    const DeviceProducts p{{q.data.get<void>(), q.shape.dtype, heads, d},
                           {k.data.get<void>(), k.shape.dtype, heads / shape.group, d},
                           indices.get<int32_t>(),
                           indices.get<int32_t>(),
                           coefficients.get<float>(),
                           rows,
                           static_cast<int32_t>(draws),
                           shape.group,
                           flags.get<uint32_t>()};
    if (!looked) {
      refuseNonFinite(device, p.q, p.query, p.products, "q");
      refuseNonFinite(device, p.k, p.key, p.products, "k");
      looked = true;
    }
    for (int64_t from = 0; from < in.head_count;) {
      stopIfCancelled(cancel);
      // Heads that follow each other are made together.
      int64_t to = from + 1;
      while (to < in.head_count && to - from < headsTogether && in.heads[to] == in.heads[to - 1] + 1) {
        to++;
      }
      const Stopwatch::Lap lap(device.arithmetic, device.stream);
      combineProducts(device.stream, p, in.heads[from], static_cast<int32_t>(to - from), device.plain,
                      matrices.get<float>());
      for (int64_t h = from; h < to; h++) {
        stopIfCancelled(cancel);
        const float* made = matrices.get<float>() + (h - from) * draws * d * d;
        for (int32_t j = 0; j < in.components; j++) {
          const int32_t rank = in.rank - in.components + 1 + j;
          const float* u = rank > 0 ? bases[static_cast<size_t>(j)].get<float>() + h * d * rank : nullptr;
          const float* v = rank > 0 ? u + in.head_count * d * rank : nullptr;
          largestSingularValues(device, made, draws, d, u, v, rank, 0,
                                values.get<float>() + (h * in.components + j) * together);
        }
      }
      device.stream.finish("permuted singular values");
      from = to;
    }
    std::vector<float> landed(static_cast<size_t>(columns * together));
    check(cudaMemcpyAsync(landed.data(), values.get<float>(), landed.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          device.stream),
          "reading singular values");
    device.stream.finish("reading singular values");
    for (int64_t h = 0; h < in.head_count; h++) {
      for (int64_t b = 0; b < draws; b++) {
        for (int32_t j = 0; j < in.components; j++) {
          out[(h * in.draws + first + b) * in.components + j] =
              landed[static_cast<size_t>((h * in.components + j) * together + b)];
        }
      }
    }
  }
  uint32_t raised = 0;
  check(cudaMemcpyAsync(&raised, flags.get<uint32_t>(), sizeof raised, cudaMemcpyDeviceToHost, device.stream),
        "reading flags");
  device.stream.finish("reading flags");
  if (raised & kNotFinite) {
    fail(QKS_E_NON_FINITE, "a permuted matrix is beyond the range of float32");
  }
}

}  // namespace qkspace
