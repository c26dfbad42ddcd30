// Label-matched terms. With S_l the running sum of the keys of label l that a query sees, and S that of all:
//
//   kbar+ = (S_label - own key) / n+,   kbar- = (S - S_label - own key) / n-     (n = 1 unless per-query)
//
// and then as for explicit terms. The sums run in f64, a column a thread, in global memory that stays in the first
// cache; a slice that starts inside a sequence first adds up the keys before it. Work is O(T (d + d^2)) for T
// positions; no T x T matrix is made.
//
// The first kSize threads keep the sums and write key rows; the other warps gather queries; all multiply.
#include "cuda/products/labels.h"

#include "cuda/products/range.cuh"
#include "cuda/products/tf32_product.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"

namespace qkspace {
namespace {

// ---- the definition, in f64 ----

__device__ double keyEntry(const DeviceLabels& labels, const DeviceRun& run, const DeviceRows& k, int32_t term,
                           int32_t side, int32_t keyHead, int32_t column) {
  const int32_t own = labels.selfKey[term];
  double sum = 0;
  for (int32_t j = 0; j < labels.keysBefore[term]; j++) {
    const int32_t label = labels.keyLabel[run.firstKey + j];
    if (label < 0 || j == own || (label == labels.label[term]) != (side == 0)) {
      continue;
    }
    sum += static_cast<double>(loadElement(k, rowOffset(k, labels.keyRow[run.firstKey + j], keyHead) + column));
  }
  return sum * static_cast<double>(labels.scale(side)[term]);
}

__global__ void labelsExactly(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceLabels labels,
                              const Slice* slices, int32_t count, double* sums) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int32_t head = static_cast<int32_t>(blockIdx.y / 2), side = static_cast<int32_t>(blockIdx.y % 2), d = shape.d;
  if (entry >= blockSize(d)) {
    return;
  }
  const int32_t keyHead = head / (shape.heads / shape.kvHeads);
  for (int32_t s = 0; s < count; s++) {
    const DeviceRun run = labels.runs[slices[s].run];
    double sum = 0;
    for (int32_t t = run.firstTerm + slices[s].from; t < run.firstTerm + slices[s].to; t++) {
      const int64_t query = rowOffset(q, labels.query[t], head);
      if (entry < d) {
        sum += static_cast<double>(labels.queryScale(side)[t]) * static_cast<double>(loadElement(q, query + entry));
      } else if (entry < 2 * d) {
        sum += keyEntry(labels, run, k, t, side, keyHead, static_cast<int32_t>(entry - d));
      } else {
        const int64_t at = entry - 2 * d;
        sum += static_cast<double>(loadElement(q, query + at / d)) *
               keyEntry(labels, run, k, t, side, keyHead, static_cast<int32_t>(at % d));
      }
    }
    sums[blockOffset(slices[s].contrast, head, shape.heads, side, d) + entry] += sum;
  }
}

// ---- the fast way ----

template <int kSize>
struct RunningSums {
  DeviceRows k;
  const DeviceLabels& labels;
  DeviceRun run;
  double* sums;  // [labels, kSize], this thread's column
  int32_t side, keyHead, column, d;
  int32_t key;  // of the run, the next to be added
  double total;

  __device__ float load(int32_t j) const {
    return column < d ? loadElement(k, rowOffset(k, labels.keyRow[run.firstKey + j], keyHead) + column) : 0.0f;
  }

  __device__ void addUpTo(int32_t end) {
    for (; key < end; key++) {
      const int32_t label = labels.keyLabel[run.firstKey + key];
      if (label < 0) {
        continue;
      }
      const double x = static_cast<double>(load(key));
      sums[label * kSize] += x;
      total += x;
    }
  }

  __device__ float keyOf(int32_t term) {
    addUpTo(labels.keysBefore[term]);
    const int32_t label = labels.label[term], own = labels.selfKey[term];
    double sum = sums[label * kSize];
    if (side == 1) {
      sum = total - sum;
    }
    if (own >= 0 && (labels.keyLabel[run.firstKey + own] == label) == (side == 0)) {
      sum -= static_cast<double>(load(own));
    }
    return static_cast<float>(sum * static_cast<double>(labels.scale(side)[term]));
  }
};

template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    labelsOnTensorCores(CovarianceShape shape, DeviceRows q, DeviceRows k, DeviceLabels labels, const Slice* slices,
                        int32_t mostLabels, double* sumsOfBlocks, float* partial, uint32_t* flags) {
  QKS_DYNAMIC_SHARED(shared);
  Tile<kSize>* tiles = reinterpret_cast<Tile<kSize>*>(shared);
  QKS_SHARED(uint32_t[2], most);
  const TilePlace place = tilePlace(blockIdx.x, shape.d, kSize);
  const int32_t head = static_cast<int32_t>(blockIdx.y), d = shape.d, thread = static_cast<int32_t>(threadIdx.x);
  const Slice slice = slices[blockIdx.z];
  const DeviceRun run = labels.runs[slice.run];
  const int32_t firstTerm = run.firstTerm + slice.from, lastTerm = run.firstTerm + slice.to;
  const int64_t block = (static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  RunningSums<kSize> running{k,
                             labels,
                             run,
                             sumsOfBlocks + block * mostLabels * kSize + thread,
                             place.side,
                             head / (shape.heads / shape.kvHeads),
                             place.column + thread,
                             d,
                             0,
                             0};
  Largest largest;
  if (thread < kSize) {
    for (int32_t label = 0; label < run.labels; label++) {
      running.sums[label * kSize] = 0;
    }
    if (slice.from > 0) {
      running.addUpTo(labels.keysBefore[firstTerm - 1]);
    }
  }
  auto fill = [&](Tile<kSize>& tile, int32_t from) {
    if (thread < kSize) {
      for (int row = 0; row < kRows; row++) {
        const float key = from + row < lastTerm ? running.keyOf(from + row) : 0.0f;
        largest.key(key);
        tile.k[row][thread] = key;
      }
      return;
    }
    for (int i = thread - kSize; i < kRows * kSize; i += kThreads - kSize) {
      const int32_t row = i / kSize, column = i % kSize, term = from + row;
      const bool there = term < lastTerm && place.row + column < d;
      const float query = there ? loadElement(q, rowOffset(q, labels.query[term], head) + place.row + column) : 0.0f;
      largest.query(query);
      tile.q[row][column] = query;
      if (column == 0) {
        tile.queryScale[row] = term < lastTerm ? labels.queryScale(place.side)[term] : 0.0f;
      }
    }
  };
  Product<kSize> product;
  fill(tiles[0], firstTerm);
  __syncthreads();
  int current = 0;
  for (int32_t from = firstTerm; from < lastTerm; from += kRows, current ^= 1) {
    if (from + kRows < lastTerm) {
      fill(tiles[current ^ 1], from + kRows);
    }
    product.add(tiles[current]);
    __syncthreads();
  }
  product.write(partial + blockOffset(blockIdx.z, head, shape.heads, place.side, d), d, place);
  judgeRange(largest, most, flags);
}

int sizeFor(const CovarianceShape& shape) { return shape.d <= 64 ? 64 : 128; }

}  // namespace

int64_t runningSumsOfLabels(const CovarianceShape& shape, int32_t mostLabels) {
  const int64_t along = tilesAlong(shape.d, sizeFor(shape));
  return 2 * along * along * shape.heads * mostLabels * sizeFor(shape);
}

void sumLabels(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
               const DeviceLabels& labels, const Slice* slices, int32_t count, int32_t mostLabels, double* running,
               float* partial, uint32_t* flags) {
  const uint32_t along = static_cast<uint32_t>(tilesAlong(shape.d, sizeFor(shape)));
  const dim3 grid(2 * along * along, static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(count));
  if (sizeFor(shape) == 64) {
    launch("summing labelled terms", labelsOnTensorCores<64>, grid, dim3(kThreads), 2 * sizeof(Tile<64>), stream, shape,
           q, k, labels, slices, mostLabels, running, partial, flags);
  } else {
    launch("summing labelled terms", labelsOnTensorCores<128>, grid, dim3(kThreads), 2 * sizeof(Tile<128>), stream,
           shape, q, k, labels, slices, mostLabels, running, partial, flags);
  }
}

void sumLabelsExactly(cudaStream_t stream, const CovarianceShape& shape, const DeviceRows& q, const DeviceRows& k,
                      const DeviceLabels& labels, const Slice* slices, int32_t count, double* sums) {
  const dim3 grid(static_cast<uint32_t>((blockSize(shape.d) + 127) / 128), static_cast<uint32_t>(2 * shape.heads));
  launch("summing labelled terms in f64", labelsExactly, grid, dim3(128), 0, stream, shape, q, k, labels, slices, count,
         sums);
}

}  // namespace qkspace
