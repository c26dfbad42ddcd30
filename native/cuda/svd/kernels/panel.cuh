// Leading singular triplets of each matrix by one thread block: randomised block subspace iteration (Halko,
// Martinsson and Tropp 2011) on b vectors, in f64. B as in full.cuh.
//
//   half a step:  P = Q B (or Q B^T, in turn); one-sided Jacobi on P, Q along;  s_j = |p_j|, next Q: p_j / s_j
//
// Jacobi orthonormalises the next basis and solves the small problem at once: afterwards q_j B = s_j p_j exactly,
// both sets orthonormal, so every sum of leading s^2 is a lower bound of the true one, and the next product shows
// the residuals p_j B^T - s_j q_j. A panel that is nearly settled costs a sweep or two.
//
// ||B||_F^2 is known, so the rank that reaches a fraction of it is certain once the s^2 up to r reach it, those up
// to r - 1 miss it by more than the residuals could add, and the block is wider than r. What is not certain goes to
// a wider block (kTooNarrow) or to the full decomposition (kHopeless).
//
// Count at 128 x 128, b = 16, rank 9 (not measured on a GPU yet): eight products of 0.26 M multiply-adds, some 35
// sweeps of 7 rounds: 0.6 M clocks, bound by the latency of rounds and loads, which the two or three other blocks of
// the multiprocessor hide.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/products.cuh"
#include "cuda/svd/block/random.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/jacobi/sweeps.cuh"
#include "cuda/svd/kernels/matrix_task.cuh"
#include "cuda/svd/kernels/rank_rule.cuh"

namespace qkspace {

constexpr int kPanelThreads = 128;
constexpr int kHalfSteps = 24;
constexpr int kFirstLook = 4;  // half steps before the first look at the residuals

struct PanelPlan {
  int width;
  bool inShared;
  size_t shared, scratch;
};

inline int widestPanel(int n) {
  const int third = n / 3 / 16 * 16;
  return n < 48 ? 0 : third < 256 ? third : 256;
}

inline PanelPlan planPanel(const SvdShape& shape, int width, size_t sharedLimit) {
  PanelPlan plan{};
  plan.width = width;
  const size_t b = static_cast<size_t>(width), small = b * (3 * sizeof(double) + sizeof(int)) + 128;
  const size_t panels = 3 * b * static_cast<size_t>(shape.ldm) * sizeof(double);
  plan.inShared = small + panels + 256 <= sharedLimit;
  plan.shared = small + (plan.inShared ? panels : 0) + 256;
  plan.scratch = plan.inShared ? 0 : panels;
  return plan;
}

template <typename M>
struct PanelTask : MatrixTask<M> {
  PanelPlan plan;
  RankRule rule;
  uint64_t seed;
  const M* transposed;  // [.., m, ldn]
  int32_t* found;       // [..] rank, or a PanelVerdict
  char* scratch;
};

template <typename M>
__global__ void __launch_bounds__(kPanelThreads, 3) panelKernel(PanelTask<M> t) {
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(int, verdict);
  const SvdShape& shape = t.shape;
  const int b = t.plan.width;
  double* lengths = reinterpret_cast<double*>(shared);
  double *s = lengths + b, *residuals = s + b;
  int* order = reinterpret_cast<int*>(residuals + b);
  const size_t small = (static_cast<size_t>(b) * (3 * sizeof(double) + sizeof(int)) + 127) / 128 * 128;
  double* room = reinterpret_cast<double*>(t.plan.inShared ? shared + small : t.scratch + blockIdx.x * t.plan.scratch);
  const size_t panel = static_cast<size_t>(b) * shape.ldm;
  const int group = threadIdx.x / kPairLanes, lane = threadIdx.x % kPairLanes, groups = blockDim.x / kPairLanes;

  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    const double total = t.totals[i], least = leastSquare(shape.n, total);
    // The basis, its image under B or B^T, and the basis before it, which lies where the image does.
    double *basis = room, *image = room + panel, *before = room + 2 * panel;
    for (int e = threadIdx.x; e < b * shape.ldn; e += blockDim.x) {
      basis[e] = e % shape.ldn < shape.n ? randomAt(t.seed, static_cast<uint64_t>(e)) : 0.0;
    }
    // Of the last half steps, by thread 0.
    double last = 1e300, lastButOne = 1e300;
    int answer = kHopeless, step = 0;
    __syncthreads();
    for (; step < kHalfSteps; step++) {
      const bool up = step % 2 == 0;  // from vectors of length n to those of length m
      const int ldBasis = up ? shape.ldn : shape.ldm, ldImage = up ? shape.ldm : shape.ldn;
      const M* matrix = up ? t.matrices + i * shape.n * static_cast<size_t>(shape.ldm)
                           : t.transposed + i * shape.m * static_cast<size_t>(shape.ldn);
      product<4>(basis, ldBasis, b, matrix, ldImage, up ? shape.n : shape.m, ldImage,
                 [&](int j, int x, double sum) { image[static_cast<size_t>(j) * ldImage + x] = sum; });
      __syncthreads();
      if (step >= kFirstLook) {
        for (int from = 0; from < b; from += groups) {
          const int j = from + group;
          double sum = 0;
          for (int e = lane; j < b && e < ldImage; e += kPairLanes) {
            const double left =
                image[static_cast<size_t>(j) * ldImage + e] - s[j] * before[static_cast<size_t>(j) * ldImage + e];
            sum += left * left;
          }
          sum = pairSum(sum);
          if (j < b && lane == 0) {
            residuals[j] = sum;
          }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
          for (int j = 0; j < b; j++) {
            int to = j;
            for (; to > 0 && s[order[to - 1]] < s[j]; to--) {
              order[to] = order[to - 1];
            }
            order[to] = j;
          }
          double residual = 0;
          verdict =
              judge(t.rule, s, order, residuals, b, shape.n, total, lastButOne, step >= kFirstLook + 4, &residual);
          lastButOne = last;
          last = residual;
        }
        __syncthreads();
        answer = verdict;
        if (answer != kGoOn) {
          break;
        }
      }
      // Up to two steps before a look the basis need only point the right way.
      const double enough = step + 2 < kFirstLook ? 1e-8 : 1e-24;
      jacobi(image, ldImage, step == 0 ? nullptr : basis, ldBasis, b, lengths, least,
             JacobiLimits<double>{1e-4 * enough, enough, 30});
      for (int j = threadIdx.x; j < b; j += blockDim.x) {
        s[j] = lengths[j] > least ? sqrt(lengths[j]) : 0.0;
      }
      __syncthreads();
      for (int e = threadIdx.x; e < b * ldImage; e += blockDim.x) {
        image[e] = s[e / ldImage] > 0 ? image[e] / s[e / ldImage] : 0.0;
      }
      double* kept = before;
      before = basis;
      basis = image;
      image = kept;
      __syncthreads();
    }
    if (answer == kGoOn) {
      answer = kHopeless;
    }
    if (answer >= 0) {
      const double *atLength = step % 2 ? basis : before, *atCount = step % 2 ? before : basis;
      for (int e = threadIdx.x; e < b * shape.ldm; e += blockDim.x) {
        t.y[i * shape.n * static_cast<size_t>(shape.ldm) + e] = atLength[e] * s[e / shape.ldm];
      }
      for (int e = threadIdx.x; e < b * shape.ldn; e += blockDim.x) {
        t.v[i * shape.n * static_cast<size_t>(shape.ldn) + e] = atCount[e];
      }
      for (int j = threadIdx.x; j < shape.n; j += blockDim.x) {
        t.squares[i * shape.n + j] = j < b ? s[j] * s[j] : 0.0;
      }
    }
    if (threadIdx.x == 0) {
      t.found[i] = answer;
    }
    __syncthreads();
  }
}

}  // namespace qkspace
