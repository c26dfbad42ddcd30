// Full decomposition of matrices that are too large for one thread block, by the whole device: block one-sided Jacobi
// in f64.
//
//   V = I, Y = B; of two blocks of 16 rows, X [32, m]:  G = X X^T, Q G Q^T diagonal;  X <- Q X, and V's rows alike
//
// In a round every block of rows is in one pair, and every pair is a thread block's; over the rounds of a sweep every
// two blocks meet once (jacobi/schedule.cuh). A round is a launch: where it ends, all of the device has ended. Sweeps go
// on until no cosine was met that asks for another one, as in full.cuh, with the same limits.
//
// G is made from the rows at every meeting, so that cosines are good to rounding whatever the lengths are. It is made
// diagonal by two-sided Jacobi in shared memory, on pairs whose cosine is above the limit.
//
// On f64 tensor cores (block/tensor_f64.cuh), fragments straight from global memory: for G, rows are the left and the
// right operand alike, so that 4 loads serve 10 products; for Q X, Q stays in registers, and 8 loads serve 32. Warps
// take parts of the columns, whose sums are added in a fixed order: the same bits run after run.
//
// Count for 4,096 x 4,096 (not measured): a sweep is 255 rounds of 128 pairs, one a multiprocessor. A pair reads 32
// rows of 32 KiB for G, and reads and writes as much of Y and V: 5 MiB, at 11 bytes a clock of device memory 480,000
// clocks, 65 ms a sweep; its 21 M multiply-adds are 160,000 clocks of the tensor cores. One block for all of it takes
// 128 times as long.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/status.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/tensor_f64.cuh"
#include "cuda/svd/jacobi/rotation.cuh"
#include "cuda/svd/jacobi/schedule.cuh"
#include "cuda/svd/kernels/full.cuh"

namespace qkspace {

constexpr int kSpreadThreads = 256, kSpreadWarps = kSpreadThreads / 32;
constexpr int kBlockRows = 16, kPairRows = 2 * kBlockRows;
constexpr int kSpreadStride = kPairRows + 4;
constexpr int kSpreadSweeps = 40, kInnerSweeps = 6;

// Blocks of rows, an even number.
inline int spreadBlocks(int n) { return ((n + kBlockRows - 1) / kBlockRows + 1) / 2 * 2; }

// V = I and Y = B. Grid: blocks of elements, matrices of the list.
template <typename M>
__global__ void __launch_bounds__(kSpreadThreads) beginKernel(FullTask<M> t) {
  const int n = t.shape.n, ldn = t.shape.ldn;
  const size_t sizeY = static_cast<size_t>(n) * t.shape.ldm, sizeV = static_cast<size_t>(n) * ldn;
  const size_t i = static_cast<size_t>(t.list[blockIdx.y]), step = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (size_t e = first; e < sizeY; e += step) {
    t.y[i * sizeY + e] = static_cast<double>(t.matrices[i * sizeY + e]);
  }
  for (size_t e = first; e < sizeV; e += step) {
    t.v[i * sizeV + e] = e / ldn == e % ldn ? 1.0 : 0.0;
  }
}

// G of the rows `index` (-1: zeros) of x into `square`. Ends with a barrier.
__device__ inline void pairGram(const double* x, int ld, const int* index, double* square) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, k = lane % 4;
  const double* row[4];
  double sum[4][4][2] = {};
  QKS_UNROLL
  for (int r = 0; r < 4; r++) {
    const int at = index[8 * r + g];
    row[r] = at < 0 ? nullptr : x + static_cast<size_t>(at) * ld + k;
  }
  for (int from = 4 * warp; from < ld; from += 4 * kSpreadWarps) {
    double part[4];
    QKS_UNROLL
    for (int r = 0; r < 4; r++) {
      part[r] = row[r] ? row[r][from] : 0.0;
    }
    QKS_UNROLL
    for (int r = 0; r < 4; r++) {
      QKS_UNROLL
      for (int c = r; c < 4; c++) {
        multiplyF64(sum[r][c], part[r], part[c]);
      }
    }
  }
  for (int turn = 0; turn < kSpreadWarps; turn++) {
    if (turn == warp) {
      QKS_UNROLL
      for (int r = 0; r < 4; r++) {
        QKS_UNROLL
        for (int c = r; c < 4; c++) {
          QKS_UNROLL
          for (int e = 0; e < 2; e++) {
            const int i = 8 * r + g, j = 8 * c + 2 * k + e;
            double& entry = square[i * kSpreadStride + j];
            entry = (turn == 0 ? 0.0 : entry) + sum[r][c][e];
          }
        }
      }
    }
    __syncthreads();
  }
  // What lies below the diagonal blocks of 8.
  for (int e = threadIdx.x; e < kPairRows * kPairRows; e += blockDim.x) {
    const int i = e / kPairRows, j = e % kPairRows;
    if (i / 8 > j / 8) {
      square[i * kSpreadStride + j] = square[j * kSpreadStride + i];
    }
  }
  __syncthreads();
}

// G <- Q G Q^T diagonal as far as the limit asks for it, from Q = I. Returns whether Q is anything else. Ends with a
// barrier.
__device__ inline bool diagonalise(double* square, double* turns, double (*rotations)[2], double least, double rotate) {
  for (int e = threadIdx.x; e < kPairRows * kPairRows; e += blockDim.x) {
    turns[e / kPairRows * kSpreadStride + e % kPairRows] = e / kPairRows == e % kPairRows ? 1.0 : 0.0;
  }
  __syncthreads();
  bool turned = false;
  for (int sweep = 0; sweep < kInnerSweeps; sweep++) {
    int met = 0;
    for (int round = 0; round < kPairRows - 1; round++) {
      const int pair = threadIdx.x / 16, part = threadIdx.x % 16;
      const VectorPair p = pairOfRound(kPairRows, round, pair);
      if (part == 0) {
        const double a = square[p.first * kSpreadStride + p.first], b = square[p.second * kSpreadStride + p.second];
        const double c = square[p.first * kSpreadStride + p.second];
        rotations[pair][0] = 1;
        rotations[pair][1] = 0;
        if (a > least && b > least && c * c > rotate * (a * b)) {
          const Rotation<double> r = rotationOf(a, b, c);
          rotations[pair][0] = r.c;
          rotations[pair][1] = r.s;
          met = 1;
        }
      }
      __syncthreads();
      const double c = rotations[pair][0], s = rotations[pair][1];
      for (int e = part; s != 0 && e < 2 * kPairRows; e += 16) {
        double* rows = e < kPairRows ? square + e : turns + e - kPairRows;
        double &first = rows[p.first * kSpreadStride], &second = rows[p.second * kSpreadStride];
        const double x = first, y = second;
        first = c * x - s * y;
        second = s * x + c * y;
      }
      __syncthreads();
      for (int e = part; s != 0 && e < kPairRows; e += 16) {
        double &first = square[e * kSpreadStride + p.first], &second = square[e * kSpreadStride + p.second];
        const double x = first, y = second;
        first = c * x - s * y;
        second = s * x + c * y;
      }
      __syncthreads();
    }
    if (!__syncthreads_or(met)) {
      break;
    }
    turned = true;
  }
  return turned;
}

// Q <- Q + (I - Q Q^T) Q / 2: orthonormal to rounding again after some hundred rotations, as errors of hundreds of
// rounds would add up in V. `room` is overwritten. Ends with a barrier.
__device__ inline void orthonormaliseTurns(double* turns, double* room) {
  constexpr int kEach = kPairRows * kPairRows / kSpreadThreads;
  double next[kEach];
  for (int e = threadIdx.x; e < kPairRows * kPairRows; e += blockDim.x) {
    const int i = e / kPairRows, j = e % kPairRows;
    double sum = i == j ? 1.0 : 0.0;
    for (int k = 0; k < kPairRows; k++) {
      sum -= turns[i * kSpreadStride + k] * turns[j * kSpreadStride + k];
    }
    room[i * kSpreadStride + j] = sum;
  }
  __syncthreads();
  QKS_UNROLL
  for (int at = 0; at < kEach; at++) {
    const int e = static_cast<int>(threadIdx.x) + at * kSpreadThreads, i = e / kPairRows, j = e % kPairRows;
    double sum = 0;
    for (int k = 0; k < kPairRows; k++) {
      sum += room[i * kSpreadStride + k] * turns[k * kSpreadStride + j];
    }
    next[at] = turns[i * kSpreadStride + j] + 0.5 * sum;
  }
  __syncthreads();
  QKS_UNROLL
  for (int at = 0; at < kEach; at++) {
    const int e = static_cast<int>(threadIdx.x) + at * kSpreadThreads;
    turns[e / kPairRows * kSpreadStride + e % kPairRows] = next[at];
  }
  __syncthreads();
}

// The rows `index` of x become Q times what they were.
__device__ inline void turnRowsOf(double* x, int ld, const int* index, const double* turns) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, k = lane % 4;
  double q[4][8];
  QKS_UNROLL
  for (int r = 0; r < 4; r++) {
    QKS_UNROLL
    for (int e = 0; e < 8; e++) {
      q[r][e] = turns[(8 * r + g) * kSpreadStride + 4 * e + k];
    }
  }
  for (int from = 8 * warp; from < ld; from += 8 * kSpreadWarps) {
    double sum[4][2] = {}, part[8];
    QKS_UNROLL
    for (int e = 0; e < 8; e++) {
      const int at = index[4 * e + k];
      part[e] = at < 0 ? 0.0 : x[static_cast<size_t>(at) * ld + from + g];
    }
    QKS_UNROLL
    for (int e = 0; e < 8; e++) {
      QKS_UNROLL
      for (int r = 0; r < 4; r++) {
        multiplyF64(sum[r], q[r][e], part[e]);
      }
    }
    // All lanes have read these columns, which no other warp reads.
    __syncwarp();
    QKS_UNROLL
    for (int r = 0; r < 4; r++) {
      const int at = index[8 * r + g];
      if (at >= 0) {
        store(reinterpret_cast<Packet<double>*>(x + static_cast<size_t>(at) * ld + from + 2 * k),
              Packet<double>{{sum[r][0], sum[r][1]}});
      }
    }
  }
}

// A round of a sweep. Grid: pairs of blocks, matrices of the list. met [matrices, pairs]: 1 where a cosine asks for
// another sweep.
template <typename M>
__global__ void __launch_bounds__(kSpreadThreads, 1) blockPairKernel(FullTask<M> t, int round, int32_t* met) {
  QKS_SHARED(double[kPairRows * kSpreadStride], square);
  QKS_SHARED(double[kPairRows * kSpreadStride], turns);
  QKS_SHARED(double[kBlockRows][2], rotations);
  QKS_SHARED(int[kPairRows], index);
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = t.shape.ldm;
  const size_t i = static_cast<size_t>(t.list[blockIdx.y]);
  double *y = t.y + i * n * static_cast<size_t>(ldm), *v = t.v + i * n * static_cast<size_t>(ldn);
  const double least = leastSquare(n, t.totals[i]);
  const VectorPair blocks = pairOfRound(2 * static_cast<int>(gridDim.x), round, static_cast<int>(blockIdx.x));
  if (threadIdx.x < kPairRows) {
    const int block = threadIdx.x < kBlockRows ? blocks.first : blocks.second;
    const int row = block * kBlockRows + static_cast<int>(threadIdx.x) % kBlockRows;
    index[threadIdx.x] = row < n ? row : -1;
  }
  __syncthreads();
  pairGram(y, ldm, index, square);
  int another = 0;
  for (int e = threadIdx.x; e < kPairRows * kPairRows; e += blockDim.x) {
    const int p = e / kPairRows, q = e % kPairRows;
    const double a = square[p * kSpreadStride + p], b = square[q * kSpreadStride + q];
    const double c = square[p * kSpreadStride + q];
    another |= p < q && a > least && b > least && c * c > kWideLimits.another * (a * b);
  }
  another = __syncthreads_or(another);
  if (threadIdx.x == 0 && another) {
    met[static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x] = 1;
  }
  if (!diagonalise(square, turns, rotations, least, kWideLimits.rotate)) {
    return;
  }
  orthonormaliseTurns(turns, square);
  turnRowsOf(y, ldm, index, turns);
  turnRowsOf(v, ldn, index, turns);
}

// Squared lengths. Grid: blocks of rows, matrices of the list.
template <typename M>
__global__ void __launch_bounds__(kSpreadThreads) endKernel(FullTask<M> t) {
  const int n = t.shape.n, ldm = t.shape.ldm, lane = threadIdx.x % 32;
  const size_t i = static_cast<size_t>(t.list[blockIdx.y]);
  const int step = static_cast<int>(gridDim.x) * kSpreadWarps;
  for (int j = static_cast<int>(blockIdx.x) * kSpreadWarps + static_cast<int>(threadIdx.x) / 32; j < n; j += step) {
    const double* row = t.y + (i * n + static_cast<size_t>(j)) * ldm;
    double sum = 0;
    for (int e = lane; e < ldm; e += 32) {
      sum += row[e] * row[e];
    }
    sum = warpSum(sum);
    if (lane == 0) {
      t.squares[i * n + static_cast<size_t>(j)] = sum;
    }
  }
}

// All matrices of the task. `met`: device memory for an int a pair of each. Returns which of them are settled.
template <typename M>
std::vector<uint8_t> decomposeSpread(Device& device, const FullTask<M>& t, int32_t* met, const qks_cancel* cancel) {
  const unsigned pairs = static_cast<unsigned>(spreadBlocks(t.shape.n) / 2), matrices = static_cast<unsigned>(t.count);
  const dim3 threads(kSpreadThreads);
  std::vector<int32_t> found(static_cast<size_t>(pairs) * matrices);
  std::vector<uint8_t> settled(matrices, 0);
  launch("svd: begin", beginKernel<M>, dim3(256, matrices), threads, 0, device.stream, t);
  bool again = true;
  for (int sweep = 0; sweep < kSpreadSweeps && again; sweep++) {
    check(cudaMemsetAsync(met, 0, found.size() * sizeof(int32_t), device.stream), "clearing flags");
    for (int round = 0; round < static_cast<int>(2 * pairs) - 1; round++) {
      launch("svd: blocks", blockPairKernel<M>, dim3(pairs, matrices), threads, 0, device.stream, t, round, met);
    }
    check(cudaMemcpyAsync(found.data(), met, found.size() * sizeof(int32_t), cudaMemcpyDeviceToHost, device.stream),
          "reading flags");
    device.stream.finish("decomposing matrices");
    stopIfCancelled(cancel);
    again = false;
    for (unsigned i = 0; i < matrices; i++) {
      const int32_t* of = found.data() + static_cast<size_t>(i) * pairs;
      settled[i] = std::none_of(of, of + pairs, [](int32_t flag) { return flag != 0; });
      again |= !settled[i];
    }
  }
  launch("svd: end", endKernel<M>, dim3(64, matrices), threads, 0, device.stream, t);
  return settled;
}

}  // namespace qkspace
