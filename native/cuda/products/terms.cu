// Explicit terms: for every slice, head and side
//
//   qk += sum_t q_t kbar_t^T,  q += sum_t u_t q_t,  k += sum_t kbar_t,   kbar_t = scale_t sum_j a_j k_j
//
// A block of 512 threads makes one kSize x kSize tile of qk: it gathers kRows queries and key sums into shared memory
// (one of two tiles) while it multiplies the other. Even warps gather first and odd ones multiply first, so that
// loads and tensor cores work at the same time.
//
// Bytes: a row of d numbers for each query and each key, of a head; rows that heads of a group and both sides share
// come from the L2 cache. Operations: 2 d^2 a term and side, three times over in tf32. At d = 128 and one key a set
// that is 6 d^2 * 2 / (8 d) = 192 flop a byte of f32: the tensor cores are the bound.
#include "cuda/products/terms.h"

#include "cuda/products/range.cuh"
#include "cuda/products/tf32_product.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

constexpr int kKeyChunk = 32;  // keys of a set that are summed in f32; chunks are summed in f64

// ---- the definition, in f64 ----

__device__ double keyEntry(const DeviceTerms& side, const DeviceRows& k, int32_t term, int32_t keyHead,
                           int32_t column) {
  double sum = 0;
  for (int32_t j = side.keyStart[term]; j < side.keyStart[term] + side.keyCount[term]; j++) {
    const double weight = side.keyWeights ? static_cast<double>(side.keyWeights[j]) : 1.0;
    sum += weight * static_cast<double>(loadElement(k, rowOffset(k, side.keys[j], keyHead) + column));
  }
  return sum * static_cast<double>(side.keyScale[term]);
}

__global__ void termsExactly(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceTerms positive,
                             DeviceTerms negative, const Slice* slices, int32_t count, double* sums) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int32_t head = static_cast<int32_t>(blockIdx.y / 2), side = static_cast<int32_t>(blockIdx.y % 2), d = shape.d;
  if (entry >= blockSize(d)) {
    return;
  }
  const DeviceTerms terms = side == 0 ? positive : negative;
  const int32_t keyHead = head / (shape.heads / shape.kvHeads);
  for (int32_t s = 0; s < count; s++) {
    double sum = 0;
    for (int32_t t = slices[s].from; t < slices[s].to; t++) {
      const int64_t query = rowOffset(q, terms.query[t], head);
      if (entry < d) {
        sum += static_cast<double>(terms.queryScale[t]) * static_cast<double>(loadElement(q, query + entry));
      } else if (entry < 2 * d) {
        sum += keyEntry(terms, k, t, keyHead, static_cast<int32_t>(entry - d));
      } else {
        const int64_t at = entry - 2 * d;
        sum += static_cast<double>(loadElement(q, query + at / d)) *
               keyEntry(terms, k, t, keyHead, static_cast<int32_t>(at % d));
      }
    }
    sums[blockOffset(slices[s].contrast, head, shape.heads, side, d) + entry] += sum;
  }
}

// ---- the fast way ----

template <int kSize>
struct Gather {
  DeviceRows q;
  DeviceRows k;
  DeviceTerms terms;
  int32_t head, keyHead, d;
  TilePlace place;

  // Two rows of each a warp, a column in 32 a lane.
  __device__ void fill(Tile<kSize>& tile, int32_t from, int32_t to, Largest& largest) const {
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    constexpr int kWarps = kThreads / 32, kColumns = kSize / 32;
    QKS_UNROLL
    for (int row = warp; row < kRows; row += kWarps) {
      const int32_t term = from + row;
      float query[kColumns], key[kColumns];
      QKS_UNROLL
      for (int i = 0; i < kColumns; i++) {
        query[i] = key[i] = 0;
      }
      float scale = 0;
      if (term < to) {
        const int64_t at = rowOffset(q, terms.query[term], head) + place.row;
        QKS_UNROLL
        for (int i = 0; i < kColumns; i++) {
          if (place.row + lane + 32 * i < d) {
            query[i] = loadElement(q, at + lane + 32 * i);
          }
        }
        scale = terms.queryScale[term];
        sumKeys(term, lane, key);
      }
      QKS_UNROLL
      for (int i = 0; i < kColumns; i++) {
        largest.query(query[i]);
        largest.key(key[i]);
        tile.q[row][lane + 32 * i] = query[i];
        tile.k[row][lane + 32 * i] = key[i];
      }
      if (lane == 0) {
        tile.queryScale[row] = scale;
      }
    }
  }

 private:
  __device__ void sumKeys(int32_t term, int lane, float (&key)[kSize / 32]) const {
    constexpr int kColumns = kSize / 32;
    const int32_t start = terms.keyStart[term], count = terms.keyCount[term];
    const float scale = terms.keyScale[term];
    if (count <= kKeyChunk) {
      addKeys(start, count, lane, key);
      QKS_UNROLL
      for (int i = 0; i < kColumns; i++) {
        key[i] *= scale;
      }
      return;
    }
    double total[kColumns];
    QKS_UNROLL
    for (int i = 0; i < kColumns; i++) {
      total[i] = 0;
    }
    for (int32_t j = 0; j < count; j += kKeyChunk) {
      float chunk[kColumns];
      QKS_UNROLL
      for (int i = 0; i < kColumns; i++) {
        chunk[i] = 0;
      }
      addKeys(start + j, count - j < kKeyChunk ? count - j : kKeyChunk, lane, chunk);
      QKS_UNROLL
      for (int i = 0; i < kColumns; i++) {
        total[i] += static_cast<double>(chunk[i]);
      }
    }
    QKS_UNROLL
    for (int i = 0; i < kColumns; i++) {
      key[i] = static_cast<float>(total[i] * static_cast<double>(scale));
    }
  }

  __device__ void addKeys(int32_t start, int32_t count, int lane, float (&sum)[kSize / 32]) const {
    for (int32_t j = start; j < start + count; j++) {
      const int64_t at = rowOffset(k, terms.keys[j], keyHead) + place.column;
      const float weight = terms.keyWeights ? terms.keyWeights[j] : 1.0f;
      QKS_UNROLL
      for (int i = 0; i < kSize / 32; i++) {
        if (place.column + lane + 32 * i < d) {
          sum[i] += weight * loadElement(k, at + lane + 32 * i);
        }
      }
    }
  }
};

template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    termsOnTensorCores(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceTerms positive, DeviceTerms negative,
                       const Slice* slices, float* partial, uint32_t* flags) {
  QKS_DYNAMIC_SHARED(shared);
  Tile<kSize>* tiles = reinterpret_cast<Tile<kSize>*>(shared);
  QKS_SHARED(uint32_t[2], most);
  const TilePlace place = tilePlace(blockIdx.x, shape.d, kSize);
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const Slice slice = slices[blockIdx.z];
  const Gather<kSize> gather{
      q, k, place.side == 0 ? positive : negative, head, head / (shape.heads / shape.kvHeads), shape.d, place};
  Product<kSize> product;
  Largest largest;
  gather.fill(tiles[0], slice.from, slice.to, largest);
  __syncthreads();
  int current = 0;
  for (int32_t from = slice.from; from < slice.to; from += kRows, current ^= 1) {
    const bool more = from + kRows < slice.to, first = threadIdx.x / 32 % 2 == 0;
    if (more && first) {
      gather.fill(tiles[current ^ 1], from + kRows, slice.to, largest);
    }
    product.add(tiles[current]);
    if (more && !first) {
      gather.fill(tiles[current ^ 1], from + kRows, slice.to, largest);
    }
    __syncthreads();
  }
  product.write(partial + blockOffset(blockIdx.z, head, shape.heads, place.side, shape.d), shape.d, place);
  judgeRange(largest, most, flags);
}

}  // namespace

void sumTerms(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
              const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, float* partial, uint32_t* flags) {
  const int size = shape.d <= 64 ? 64 : 128;
  const uint32_t along = static_cast<uint32_t>(tilesAlong(shape.d, size));
  const dim3 grid(2 * along * along, static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(count));
  if (size == 64) {
    launch("summing terms", termsOnTensorCores<64>, grid, dim3(kThreads), 2 * sizeof(Tile<64>), stream, shape, q, k,
           sides[0], sides[1], slices, partial, flags);
  } else {
    launch("summing terms", termsOnTensorCores<128>, grid, dim3(kThreads), 2 * sizeof(Tile<128>), stream, shape, q, k,
           sides[0], sides[1], slices, partial, flags);
  }
}

void sumTermsExactly(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
                     const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, double* sums) {
  const dim3 grid(static_cast<uint32_t>((blockSize(shape.d) + 127) / 128), static_cast<uint32_t>(2 * shape.heads));
  launch("summing terms in f64", termsExactly, grid, dim3(128), 0, stream, shape, q, k, sides[0], sides[1], slices,
         count, sums);
}

}  // namespace qkspace
