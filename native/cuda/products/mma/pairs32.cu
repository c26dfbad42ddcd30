// Pairs of f32-accurate rows on tensor cores of compute capability 8.0 and later, with weights u_t of the queries: for
// every slice, head and side
//
//   qk += sum_t q_t k_t^T,  q += sum_t u_t q_t,  k += sum_t k_t
//
// A block of 512 threads makes one kSize x kSize tile of qk. kRows queries and keys are on their way into one of two
// tiles in shared memory while the other is multiplied: by asynchronous copies where rows are f32 and aligned; otherwise
// even warps load first and odd ones multiply first, so that loads and tensor cores work at the same time. Precision:
// tf32_product.cuh.
//
// Bytes: a row of d numbers for each query and each key, of a head; rows that heads of a group and both sides share
// come from the L2 cache. Operations: 2 d^2 a pair and side, three times over in tf32: the tensor cores are the bound.
#include "cuda/products/async_copy.cuh"
#include "cuda/products/mma/pairs.h"
#include "cuda/products/mma/tf32_product.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

// Brings rows of a tile: two rows of each a warp.
template <int kSize>
struct Gather {
  DeviceRows q;
  PairSide side;
  int32_t head, keyHead, d;
  TilePlace place;
  bool asynchronous;  // rows are f32, and pieces of four of them are there or not

  __device__ Gather(const CovarianceShape& shape, const DevicePairs& pairs, int sideIndex, int32_t head,
                    const TilePlace& place)
      : q(pairs.q),
        side(pairs.side[sideIndex]),
        head(head),
        keyHead(head / (shape.heads / shape.kvHeads)),
        d(shape.d),
        place(place),
        asynchronous(q.dtype == QKS_F32 && side.k.dtype == QKS_F32 && d % 4 == 0) {}

  __device__ void fill(Tile<kSize>& tile, int32_t from, int32_t to) const {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    QKS_UNROLL
    for (int row = warp; row < kRows; row += kThreads / 32) {
      const int32_t pair = from + row;
      const bool there = pair < to;
      const int64_t query = there ? rowOffset(q, side.query[pair], head) + place.row : 0;
      const int64_t key = there ? rowOffset(side.k, side.keyRow(pair), keyHead) + place.column : 0;
      if (asynchronous) {
        if (lane < kSize / 4) {
          copyFour(tile.q[row] + 4 * lane, q, query, there ? d - place.row - 4 * lane : 0, 4 * lane);
          copyFour(tile.k[row] + 4 * lane, side.k, key, there ? d - place.column - 4 * lane : 0, 4 * lane);
        }
      } else {
        QKS_UNROLL
        for (int i = lane; i < kSize; i += 32) {
          tile.q[row][i] = there && place.row + i < d ? loadElement(q, query + i) : 0.0f;
          tile.k[row][i] = there && place.column + i < d ? loadElement(side.k, key + i) : 0.0f;
        }
      }
      if (lane == 0) {
        tile.queryScale[row] = !there ? 0.0f : side.queryScale ? side.queryScale[pair] : 1.0f;
      }
    }
    commitCopies();
  }

 private:
  static __device__ void copyFour(float* to, const DeviceRows& rows, int64_t at, int left, int column) {
    const bool some = left > 0;
    copyAsync(to, static_cast<const float*>(rows.data) + (some ? at + column : 0), some ? 16 : 0);
  }
};

template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    pairs32OnTensorCores(CovarianceShape shape, DevicePairs pairs, const Slice* slices, float* partial) {
  QKS_DYNAMIC_SHARED(shared);
  Tile<kSize>* tiles = reinterpret_cast<Tile<kSize>*>(shared);
  const int side = static_cast<int>(blockIdx.x % 2);
  const TilePlace place = tilePlace(blockIdx.x / 2, shape.d, kSize, kSize);
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const Slice slice = slices[blockIdx.z];
  const Gather<kSize> gather(shape, pairs, side, head, place);
  Product<kSize> product;
  gather.fill(tiles[0], slice.from, slice.to);
  waitForCopies<0>();
  __syncthreads();
  int current = 0;
  for (int32_t from = slice.from; from < slice.to; from += kRows, current ^= 1) {
    const bool more = from + kRows < slice.to, first = gather.asynchronous || threadIdx.x / 32 % 2 == 0;
    if (more && first) {
      gather.fill(tiles[current ^ 1], from + kRows, slice.to);
    }
    product.add(tiles[current]);
    if (more && !first) {
      gather.fill(tiles[current ^ 1], from + kRows, slice.to);
    }
    waitForCopies<0>();
    __syncthreads();
  }
  product.write(partial + blockOffset(blockIdx.z, head, shape.heads, side, shape.d), shape.d, place);
}

template <int kSize>
void launchPairs(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                 int32_t count, float* partial) {
  const dim3 grid(2 * tilesOf(shape.d, kSize, kSize), static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(count));
  launch("summing pairs", pairs32OnTensorCores<kSize>, grid, dim3(kThreads), 2 * sizeof(Tile<kSize>), stream, shape,
         pairs, slices, partial);
}

}  // namespace

void sumPairs32(cudaStream_t stream, const CovarianceShape& shape, const DevicePairs& pairs, const Slice* slices,
                int32_t count, float* partial) {
  const auto run = tileColumns(shape.d) == 64 ? launchPairs<64> : launchPairs<128>;
  run(stream, shape, pairs, slices, count, partial);
}

}  // namespace qkspace
