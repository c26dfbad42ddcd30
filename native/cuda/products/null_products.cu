// For every head and draw b
//
//   D_b [d, d] = sum_r a_br q_r k_r^T,   r over `products` pairs of rows
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
#include "cuda/products/null_products.h"

#include "cuda/products/mma/tf32_product.cuh"
#include "cuda/products/sums.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"

namespace qkspace {
namespace {

constexpr int kTogether = 8;  // columns of q a block

// A matrix of which an entry is beyond f32 has no singular values.
__device__ inline void put(const DeviceProducts& p, float* to, float x) {
  *to = x;
  if (!(x - x == 0)) {
    atomicOr(p.flags, uint32_t{kNotFinite});
  }
}

// ---- the definition ----

// matrices [heads of the launch, draws, d, d]
__global__ void productsPlainly(DeviceProducts p, int32_t firstHead, float* matrices) {
  const int32_t d = p.q.d, draw = static_cast<int32_t>(blockIdx.y), head = firstHead + static_cast<int32_t>(blockIdx.z);
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (entry >= static_cast<int64_t>(d) * d) {
    return;
  }
  double sum = 0;
  for (int32_t r = 0; r < p.products; r++) {
    sum += static_cast<double>(p.coefficients[static_cast<int64_t>(draw) * p.products + r]) *
           static_cast<double>(loadElement(p.q, rowOffset(p.q, p.query[r], head) + entry / d)) *
           static_cast<double>(loadElement(p.k, rowOffset(p.k, p.key[r], head / p.group) + entry % d));
  }
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
  const int32_t d = p.q.d, head = firstHead + static_cast<int32_t>(blockIdx.z),
                thread = static_cast<int32_t>(threadIdx.x);
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
      if (there && place.draw < p.draws && place.column < d) {
        weighted = p.coefficients[static_cast<int64_t>(place.draw) * p.products + r] *
                   loadElement(p.q, rowOffset(p.q, p.query[r], head) + place.column);
      }
      if (there && column + at < d) {
        key = loadElement(p.k, rowOffset(p.k, p.key[r], head / p.group) + column + at);
      }
      tile.q[row][at] = weighted;
      tile.k[row][at] = key;
      if (at == 0) {
        tile.queryScale[row] = 0;
      }
    }
  };
  Product<kSize, false> product;
  fill(tiles[0], 0);
  __syncthreads();
  int current = 0;
  for (int32_t from = 0; from < p.products; from += kRows, current ^= 1) {
    const bool more = from + kRows < p.products, first = thread / 32 % 2 == 0;
    if (more && first) {
      fill(tiles[current ^ 1], from + kRows);
    }
    product.add(tiles[current]);
    if (more && !first) {
      fill(tiles[current ^ 1], from + kRows);
    }
    __syncthreads();
  }
  product.forEach([&](int row, int inColumn, float x) {
    const DrawPlace place = drawPlace(firstDraw, queryColumn, row);
    const int32_t to = column + inColumn;
    if (place.draw >= p.draws || place.column >= d || to >= d) {
      return;
    }
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

}  // namespace

void combineProducts(cudaStream_t stream, const DeviceProducts& p, int32_t firstHead, int32_t heads, bool plainly,
                     float* matrices) {
  const auto combine = plainly ? launchPlainly : p.q.d <= 64 ? launchProducts<64> : launchProducts<128>;
  combine(stream, p, firstHead, heads, matrices);
}

}  // namespace qkspace
