#include "cuda/svd/largest/null_values.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "common/status.h"
#include "cuda/products/null_products.h"
#include "cuda/products/range.cuh"
#include "cuda/rows/nonfinite_rows.h"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/svd/largest/lanczos.h"

namespace qkspace {
namespace {

// Bytes of the matrices that are made before their singular values are taken.
constexpr size_t kMostMatrices = size_t{1} << 30;

// Rows of a tensor on the device: those that are kept there.
const ResidentRows& residentOf(const qks_tensor& tensor, const char* name) {
  const ResidentRows* rows = residentRows(tensor.rows);
  if (!rows) {
    fail(QKS_E_ARGUMENT, std::string(name) + " must be resident");
  }
  return *rows;
}

void checkProductRows(const int32_t* rows, int64_t count, int64_t limit, const char* name) {
  for (int64_t i = 0; i < count; i++) {
    if (rows[i] < 0 || rows[i] >= limit) {
      fail(QKS_E_RANGE, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(rows[i]) +
                            ", expected a row from 0 to " + std::to_string(limit - 1));
    }
  }
}

void refuseNonFinite(Device& device, const DeviceRows& rows, const int32_t* wanted, int64_t count, const char* name) {
  HeadRow found;
  if (findNonFiniteRow(device, rows, wanted, count, found)) {
    failNonFinite(name, found);
  }
}

}  // namespace

void largestOfProducts(Device& device, Transfer& transfer, const qks_products_request& in, const qks_cancel* cancel,
                       double* out) {
  device.use();
  const ResidentRows &q = residentOf(in.q, "q"), &k = residentOf(in.k, "k");
  const int32_t heads = static_cast<int32_t>(q.shape.shape[2]), kvHeads = static_cast<int32_t>(k.shape.shape[2]);
  const int32_t d = static_cast<int32_t>(q.shape.shape[3]);
  if (k.shape.shape[3] != d) {
    fail(QKS_E_SHAPE, "q and k differ in head dimension");
  }
  if (kvHeads < 1 || heads % kvHeads != 0) {
    fail(QKS_E_SHAPE, "the heads of k do not divide those of q");
  }
  if (in.products < 1 || in.products > INT32_MAX || in.draws < 1 || in.draws > 65535 || in.rank < 0 || in.rank > d) {
    fail(QKS_E_ARGUMENT, "products, draws or rank is out of range");
  }
  checkProductRows(in.query, in.products, q.shape.shape[0] * q.shape.shape[1], "query");
  checkProductRows(in.key, in.products, k.shape.shape[0] * k.shape.shape[1], "key");

  DeviceBuffer indices(device.budget), coefficients(device.budget), matrices(device.budget), values(device.budget),
      bases(device.budget), flags(device.budget);
  const size_t products = static_cast<size_t>(in.products), rowBytes = products * sizeof(int32_t);
  indices.reserve(2 * rowBytes, "rows of products");
  transfer.bytes(in.query, rowBytes, indices.get<char>());
  transfer.bytes(in.key, rowBytes, indices.get<char>() + rowBytes);
  const size_t coefficientBytes = products * static_cast<size_t>(in.draws) * sizeof(float);
  coefficients.reserve(coefficientBytes, "weights of products");
  transfer.bytes(in.coefficients, coefficientBytes, coefficients.get<char>());
  const size_t basis = static_cast<size_t>(heads) * static_cast<size_t>(d) * static_cast<size_t>(in.rank);
  if (basis) {
    bases.reserve(2 * basis * sizeof(float), "accepted components");
    for (int side = 0; side < 2; side++) {
      const double* from = side == 0 ? in.u : in.v;
      const std::vector<float> single(from, from + basis);
      transfer.bytes(single.data(), basis * sizeof(float), bases.get<float>() + side * basis);
    }
  }

  flags.reserve(64, "flags");
  check(cudaMemsetAsync(flags.get<uint32_t>(), 0, sizeof(uint32_t), device.stream), "clearing flags");
  const DeviceProducts p{{q.data.get<void>(), q.shape.dtype, heads, d},
                         {k.data.get<void>(), k.shape.dtype, kvHeads, d},
                         indices.get<int32_t>(),
                         indices.get<int32_t>() + products,
                         coefficients.get<float>(),
                         static_cast<int32_t>(in.products),
                         static_cast<int32_t>(in.draws),
                         heads / kvHeads,
                         flags.get<uint32_t>()};
  refuseNonFinite(device, p.q, p.query, p.products, "q");
  refuseNonFinite(device, p.k, p.key, p.products, "k");
  const size_t headBytes =
      static_cast<size_t>(in.draws) * static_cast<size_t>(d) * static_cast<size_t>(d) * sizeof(float);
  const size_t free = device.budget.available();
  const int32_t together = static_cast<int32_t>(
      std::max<size_t>(1, std::min<size_t>(static_cast<size_t>(heads), std::min(kMostMatrices, free / 2) / headBytes)));
  matrices.reserve(headBytes * static_cast<size_t>(together), "permuted matrices");
  values.reserve(static_cast<size_t>(heads) * static_cast<size_t>(in.draws) * sizeof(float), "singular values");
  for (int32_t first = 0; first < heads; first += together) {
    stopIfCancelled(cancel);
    const int32_t count = std::min(together, heads - first);
    const Stopwatch::Lap lap(device.arithmetic, device.stream);
    combineProducts(device.stream, p, first, count, device.plain, matrices.get<float>());
    for (int32_t h = 0; h < count; h++) {
      const size_t head = static_cast<size_t>(first + h);
      const float* u = basis ? bases.get<float>() + head * static_cast<size_t>(d * in.rank) : nullptr;
      largestSingularValues(device, matrices.get<float>() + static_cast<size_t>(h) * headBytes / sizeof(float),
                            in.draws, d, u, u ? u + basis : nullptr, in.rank, in.seed,
                            values.get<float>() + head * static_cast<size_t>(in.draws));
    }
    device.stream.finish("permuted singular values");
  }
  std::vector<float> landed(static_cast<size_t>(heads) * static_cast<size_t>(in.draws));
  check(cudaMemcpyAsync(landed.data(), values.get<float>(), landed.size() * sizeof(float), cudaMemcpyDeviceToHost,
                        device.stream),
        "reading singular values");
  uint32_t raised = 0;
  check(cudaMemcpyAsync(&raised, flags.get<uint32_t>(), sizeof raised, cudaMemcpyDeviceToHost, device.stream),
        "reading flags");
  device.stream.finish("reading singular values");
  if (raised & kNotFinite) {
    fail(QKS_E_NON_FINITE, "a permuted matrix is beyond the range of float32");
  }
  std::copy(landed.begin(), landed.end(), out);
}

}  // namespace qkspace
