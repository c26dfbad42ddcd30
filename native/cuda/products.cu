// For every head and draw b
//
//   D_b [d, d] = sum_r a_br q_r k_r^T,   r over `products` pairs of rows; then its largest singular value
//
// The products q_r k_r^T are the same for all draws, so for one column i of q this is a matrix product,
//
//   D_.i [draws, d] = (A diag(q_.i)) K,   A [draws, products], K [products, d]
//
// and a block makes it for kTogether columns i and kSize / kTogether draws: kSize x kSize numbers, from kRows products
// at a time in shared memory. A and K are read again by every block; they are small and stay in the L2 cache. A block
// of kSize = 128 reads 128 + 16 numbers a product for 2 * 128^2 operations, 57 flop a byte of L2: bound by the tensor
// cores where those give less than 300 Tflop/s in tf32, which they do.
//
// tf32 alone: each product is rounded by 2^-12, at random, which moves the largest singular value of a sum of
// thousands by about 1e-5 of itself.
#include <algorithm>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/product.cuh"
#include "cuda/products.h"
#include "cuda/spectral.h"

namespace qkspace {
namespace {

constexpr int kTogether = 8;  // columns of q a block
// Bytes of the matrices that are made before their singular values are taken.
constexpr size_t kMostMatrices = size_t{1} << 30;

struct DeviceProducts {
  DeviceRows q, k;
  const int32_t *query, *key;  // [products]
  const float* coefficients;   // [draws, products]
  int32_t products, draws, group;
  uint32_t* flags;
};

// A matrix of which an entry is beyond f32 has no singular values.
__device__ inline void put(const DeviceProducts& p, float* to, float x) {
  *to = x;
  if (!(x - x == 0)) atomicOr(p.flags, uint32_t{kNotFinite});
}

// ---- the definition ----

// matrices [heads of the launch, draws, d, d]
__global__ void productsPlainly(DeviceProducts p, int32_t firstHead, float* matrices) {
  const int32_t d = p.q.d, draw = static_cast<int32_t>(blockIdx.y), head = firstHead + static_cast<int32_t>(blockIdx.z);
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (entry >= static_cast<int64_t>(d) * d) return;
  double sum = 0;
  for (int32_t r = 0; r < p.products; r++)
    sum += static_cast<double>(p.coefficients[static_cast<int64_t>(draw) * p.products + r]) *
           static_cast<double>(loadElement(p.q, rowOffset(p.q, p.query[r], head) + entry / d)) *
           static_cast<double>(loadElement(p.k, rowOffset(p.k, p.key[r], head / p.group) + entry % d));
  put(p, matrices + (static_cast<int64_t>(blockIdx.z) * p.draws + draw) * d * d + entry, static_cast<float>(sum));
}

// ---- the fast way ----

// Which draw and which column of q a row of the tile is.
struct DrawPlace {
  int32_t draw, column;
};
__host__ __device__ inline DrawPlace drawPlace(int32_t firstDraw, int32_t firstColumn, int32_t row) {
  return {firstDraw + row / kTogether, firstColumn + row % kTogether};
}

template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    productsOnTensorCores(DeviceProducts p, int32_t firstHead, float* matrices) {
  QKS_DYNAMIC_SHARED(shared);
  Tile<kSize>* tiles = reinterpret_cast<Tile<kSize>*>(shared);
  const int32_t d = p.q.d, head = firstHead + static_cast<int32_t>(blockIdx.z), thread = static_cast<int32_t>(threadIdx.x);
  const int32_t columnTiles = tilesAlong(d, kSize), drawsHere = kSize / kTogether;
  const int32_t column = static_cast<int32_t>(blockIdx.x) % columnTiles * kSize;
  const int32_t queryColumn = static_cast<int32_t>(blockIdx.x) / columnTiles * kTogether;
  const int32_t firstDraw = static_cast<int32_t>(blockIdx.y) * drawsHere;
  auto fill = [&](Tile<kSize>& tile, int32_t from) {
    // Columns of the tile are draws and columns of q; neighbours in a warp read neighbours in memory where they can.
    for (int32_t i = thread; i < kRows * kSize; i += kThreads) {
      const int32_t row = i / kSize, at = i % kSize, r = from + row;
      const bool there = r < p.products;
      const DrawPlace place = drawPlace(firstDraw, queryColumn, at);
      float weighted = 0, key = 0;
      if (there && place.draw < p.draws && place.column < d)
        weighted = p.coefficients[static_cast<int64_t>(place.draw) * p.products + r] *
                   loadElement(p.q, rowOffset(p.q, p.query[r], head) + place.column);
      if (there && column + at < d) key = loadElement(p.k, rowOffset(p.k, p.key[r], head / p.group) + column + at);
      tile.q[row][at] = weighted;
      tile.k[row][at] = key;
      if (at == 0) tile.queryScale[row] = 0;
    }
  };
  Product<kSize, false> product;
  fill(tiles[0], 0);
  __syncthreads();
  int current = 0;
  for (int32_t from = 0; from < p.products; from += kRows, current ^= 1) {
    const bool more = from + kRows < p.products, first = thread / 32 % 2 == 0;
    if (more && first) fill(tiles[current ^ 1], from + kRows);
    product.add(tiles[current]);
    if (more && !first) fill(tiles[current ^ 1], from + kRows);
    __syncthreads();
  }
  product.forEach([&](int row, int inColumn, float x) {
    const DrawPlace place = drawPlace(firstDraw, queryColumn, row);
    const int32_t to = column + inColumn;
    if (place.draw >= p.draws || place.column >= d || to >= d) return;
    put(p, matrices + ((static_cast<int64_t>(blockIdx.z) * p.draws + place.draw) * d + place.column) * d + to, x);
  });
}

template <int kSize>
void launchProducts(cudaStream_t stream, const DeviceProducts& p, int32_t firstHead, int32_t heads, float* matrices) {
  const uint32_t across = static_cast<uint32_t>(tilesAlong(p.q.d, kSize) * ((p.q.d + kTogether - 1) / kTogether));
  const uint32_t down = static_cast<uint32_t>((p.draws + kSize / kTogether - 1) / (kSize / kTogether));
  launch("combining products", productsOnTensorCores<kSize>, dim3(across, down, static_cast<uint32_t>(heads)),
         dim3(kThreads), 2 * sizeof(Tile<kSize>), stream, p, firstHead, matrices);
}

void launchPlainly(cudaStream_t stream, const DeviceProducts& p, int32_t firstHead, int32_t heads, float* matrices) {
  const dim3 grid(static_cast<uint32_t>((p.q.d * p.q.d + 127) / 128), static_cast<uint32_t>(p.draws),
                  static_cast<uint32_t>(heads));
  launch("combining products in f64", productsPlainly, grid, dim3(128), 0, stream, p, firstHead, matrices);
}

// Rows of a tensor on the device: those that are kept there.
const ResidentRows& residentOf(const qks_tensor& tensor, const char* name) {
  const ResidentRows* rows = residentRows(tensor.rows);
  if (!rows) fail(QKS_E_ARGUMENT, std::string(name) + " must be resident");
  return *rows;
}

void checkProductRows(const int32_t* rows, int64_t count, int64_t limit, const char* name) {
  for (int64_t i = 0; i < count; i++)
    if (rows[i] < 0 || rows[i] >= limit)
      fail(QKS_E_RANGE, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(rows[i]) +
                            ", expected a row from 0 to " + std::to_string(limit - 1));
}

void refuseNonFinite(Device& device, const DeviceRows& rows, const int32_t* wanted, int64_t count, const char* name) {
  HeadRow found;
  if (!findNonFiniteRow(device, rows, wanted, count, found)) return;
  fail(QKS_E_NON_FINITE, std::string(name) + " is not finite at head " + std::to_string(found.head) + ", row " +
                             std::to_string(found.row));
}

}  // namespace

void largestOfProducts(Device& device, Transfer& transfer, const qks_products_request& in, const qks_cancel* cancel,
                       double* out) {
  device.use();
  const ResidentRows &q = residentOf(in.q, "q"), &k = residentOf(in.k, "k");
  const int32_t heads = static_cast<int32_t>(q.shape.shape[2]), kvHeads = static_cast<int32_t>(k.shape.shape[2]);
  const int32_t d = static_cast<int32_t>(q.shape.shape[3]);
  if (k.shape.shape[3] != d) fail(QKS_E_SHAPE, "q and k differ in head dimension");
  if (kvHeads < 1 || heads % kvHeads != 0) fail(QKS_E_SHAPE, "the heads of k do not divide those of q");
  if (in.products < 1 || in.products > INT32_MAX || in.draws < 1 || in.draws > 65535 || in.rank < 0 || in.rank > d)
    fail(QKS_E_ARGUMENT, "products, draws or rank is out of range");
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
  const size_t headBytes = static_cast<size_t>(in.draws) * static_cast<size_t>(d) * static_cast<size_t>(d) * sizeof(float);
  const size_t free = device.budget.available();
  const int32_t together = static_cast<int32_t>(
      std::max<size_t>(1, std::min<size_t>(static_cast<size_t>(heads), std::min(kMostMatrices, free / 2) / headBytes)));
  matrices.reserve(headBytes * static_cast<size_t>(together), "permuted matrices");
  values.reserve(static_cast<size_t>(heads) * static_cast<size_t>(in.draws) * sizeof(float), "singular values");
  for (int32_t first = 0; first < heads; first += together) {
    stopIfCancelled(cancel);
    const int32_t count = std::min(together, heads - first);
    const Stopwatch::Lap lap(device.arithmetic, device.stream);
    const auto combine = device.plain ? launchPlainly : d <= 64 ? launchProducts<64> : launchProducts<128>;
    combine(device.stream, p, first, count, matrices.get<float>());
    for (int32_t h = 0; h < count; h++) {
      const size_t head = static_cast<size_t>(first + h);
      const float* u = basis ? bases.get<float>() + head * static_cast<size_t>(d * in.rank) : nullptr;
      largestSingularValues(device, matrices.get<float>() + static_cast<size_t>(h) * headBytes / sizeof(float), in.draws,
                            d, u, u ? u + basis : nullptr, in.rank, in.seed,
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
  if (raised & kNotFinite) fail(QKS_E_NON_FINITE, "a permuted matrix is beyond the range of float32");
  std::copy(landed.begin(), landed.end(), out);
}

}  // namespace qkspace
