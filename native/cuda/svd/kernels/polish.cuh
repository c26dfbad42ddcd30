// From a basis of f32 accuracy to one of f64: all pairs of vectors are rotated at once, by matrix products on tensor
// cores. Takes the place of steps 2 to 4 of full.cuh for matrices of up to 128 x 128 whose values are told apart.
//
// With V of rows that are nearly orthonormal, and Y = V B of rows that are nearly orthogonal:
//
//   S = Y Y^T, R = I - V V^T, g_ij = S_ij + (S_ii + S_jj) R_ij / 2
//   zeta = (S_jj - S_ii) / 2 g_ij;  K_ij = -sign(zeta) / (|zeta| + sqrt(1 + zeta^2))     (K is skew)
//   T = R / 2 + K + K^2 / 2;  V <- V + T V,  Y <- Y + T Y
//
// R / 2 makes V orthonormal, exp(K) rotates every pair by the tangent of Jacobi's method: g_ij / (S_ii - S_jj) where
// values lie apart (Ogita and Aishima 2018), and at most 1 where they do not. What is wrong is squared in a step, as
// long as all of K is small. Y is turned along and not made anew, so that small vectors become orthogonal relative to
// their own length. On noise of 128 x 128, on the emulator: |K| is 5e-5 and |R| 2e-5 after f32's sweeps, and two steps
// are enough; with low rank beside the noise |K| is 3e-4, in three steps.
//
// A matrix is done when cosines and R are rounding, or when the product of what was just corrected is. Where K is not
// small (values that lie closer than f32 tells apart), or where steps do not help (values below 1e-9 of the energy
// among each other), V is made orthonormal and the rest left to step 4. Decided for each matrix by its own figures.
//
// Count at 128 x 128 (not measured): Y; in a step S, R, K^2, T V and T Y; S and R again to see that it is done. That is
// 13 products for two steps and 16 for three that end by their product, of 16,384 clocks on tensor cores each: 210,000
// to 260,000 clocks, and three or four passes over S of some 10,000. Operands are read from L2 once a product, 128 KiB,
// beside the one that lies in shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuda/runtime/shared_memory.cuh"
#include "cuda/svd/block/sums.cuh"
#include "cuda/svd/block/tensor_f64.cuh"
#include "cuda/svd/kernels/full.cuh"

namespace qkspace {

constexpr int kMostPolishes = 4;
constexpr size_t kPolishShared = (kTensorDoubles + 2 * kPanelDoubles + kTensorSide) * sizeof(double) + 128;

// What of a matrix is still wrong.
struct PolishState {
  double defect;         // |R|
  double cosine, small;  // between vectors, and between those that are both small
  double turn;           // |K|, where the vectors are not both small
};

// K_ij.
__device__ inline double turnOf(double a, double b, double g) {
  if (g == 0) {
    return 0;
  }
  const double apart = a - b;
  if (fabs(apart) > 2e4 * fabs(g)) {
    // f32 is enough for the inverse: its error is one of a correction.
    return g * static_cast<double>(1.0f / static_cast<float>(apart));
  }
  const double zeta = -apart / (2 * g);
  return -copysign(1.0, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
}

// K into `square` (zeros behind n), R into `defects`; squared lengths into `lengths`. Ends with a barrier.
__device__ inline PolishState compare(TensorTile& tile, const double* v, int ldn, const double* y, int ldm, int n,
                                      double least, double small, double* square, double* panels, double* lengths,
                                      double* defects) {
  PolishState state{0, 0, 0, 0};
  gramProduct(tile, v, ldn, n, panels);
  tile.each([&](int i, int j, double sum) {
    if (i < n && j < ldn) {
      const double r = j < n ? (i == j ? 1.0 : 0.0) - sum : 0.0;
      state.defect = fabs(r) > state.defect ? fabs(r) : state.defect;
      // Rounding of V would be more than rounding to small vectors of Y.
      defects[static_cast<size_t>(i) * ldn + j] = fabs(r) > 1e-14 ? r : 0.0;
    }
  });
  gramProduct(tile, y, ldm, n, panels);
  tile.each([&](int i, int j, double sum) {
    if (i == j) {
      lengths[i] = sum;
    }
  });
  __syncthreads();
  tile.each([&](int i, int j, double sum) {
    double turn = 0;
    if (i < n && j < n && i != j) {
      const double a = lengths[i], b = lengths[j], r = defects[static_cast<size_t>(i) * ldn + j];
      const bool bothSmall = a <= small && b <= small;
      if (a > least && b > least) {
        // Squared, and its root taken once.
        const double cosine = sum * sum / (a * b);
        double& worst = bothSmall ? state.small : state.cosine;
        worst = cosine > worst ? cosine : worst;
      }
      if (!bothSmall) {
        turn = turnOf(a, b, sum + 0.5 * (a + b) * r);
        state.turn = fabs(turn) > state.turn ? fabs(turn) : state.turn;
      }
    }
    square[i * kTensorStride + j] = turn;
  });
  state.defect = blockMost(state.defect);
  state.cosine = sqrt(blockMost(state.cosine));
  state.small = sqrt(blockMost(state.small));
  state.turn = blockMost(state.turn);
  __syncthreads();
  return state;
}

// V <- V + T V and Y <- Y + T Y, T = R / 2 + K + K^2 / 2, of the K that lies in `square`; or, where it is not to be
// turned, T = R / 2 + 3 R^2 / 8. Ends with a barrier.
__device__ inline void correct(TensorTile& tile, bool turning, double* v, int ldn, double* y, int ldm, int n,
                               double* square, double* panels, const double* defects) {
  if (!turning) {
    tile.each([&](int i, int j, double) {
      square[i * kTensorStride + j] = i < n && j < n ? defects[static_cast<size_t>(i) * ldn + j] : 0.0;
    });
    __syncthreads();
  }
  tile.clear();
  tile.add(square, kTensorStride, square, kTensorStride, 1, kTensorSide);
  __syncthreads();
  tile.each([&](int i, int j, double sum) {
    double& entry = square[i * kTensorStride + j];
    if (turning) {
      entry += 0.5 * sum + (i < n && j < n ? 0.5 * defects[static_cast<size_t>(i) * ldn + j] : 0.0);
    } else {
      entry = 0.5 * entry + 0.375 * sum;
    }
  });
  __syncthreads();
  panelProduct(tile, square, v, ldn, n, panels);
  tile.each([&](int i, int j, double sum) {
    if (i < n && j < ldn) {
      v[static_cast<size_t>(i) * ldn + j] += sum;
    }
  });
  panelProduct(tile, square, y, ldm, n, panels);
  tile.each([&](int i, int j, double sum) {
    if (i < n && j < ldm) {
      y[static_cast<size_t>(i) * ldm + j] += sum;
    }
  });
  __syncthreads();
}

template <typename M>
__global__ void __launch_bounds__(kTensorThreads, 1) polishKernel(FullTask<M> t) {
  QKS_DYNAMIC_SHARED(shared);
  const int n = t.shape.n, ldn = t.shape.ldn, ldm = t.shape.ldm;
  const size_t sizeY = static_cast<size_t>(n) * ldm, sizeV = static_cast<size_t>(n) * ldn;
  double* square = reinterpret_cast<double*>(shared);
  double *panels = square + kTensorDoubles, *lengths = panels + 2 * kPanelDoubles;
  double* defects = t.scratch + blockIdx.x * 2 * sizeV;
  TensorTile tile;
  for (int at = blockIdx.x; at < t.count; at += gridDim.x) {
    const size_t i = static_cast<size_t>(t.list[at]);
    double *y = t.y + i * sizeY, *v = t.v + i * sizeV;
    const double total = t.totals[i], least = leastSquare(n, total), small = 1e-9 * total / n;
    const float* basis = reinterpret_cast<const float*>(v);
    for (int e = threadIdx.x; e < kTensorSide * kTensorStride; e += blockDim.x) {
      const int j = e / kTensorStride, x = e % kTensorStride;
      square[e] = j < n && x < ldn ? static_cast<double>(basis[static_cast<size_t>(j) * ldn + x]) : 0.0;
    }
    __syncthreads();
    panelProduct(tile, square, t.matrices + i * sizeY, ldm, n, panels);
    tile.each([&](int j, int x, double sum) {
      if (j < n && x < ldm) {
        y[static_cast<size_t>(j) * ldm + x] = sum;
      }
      if (j < n && x < ldn) {
        v[static_cast<size_t>(j) * ldn + x] = square[j * kTensorStride + x];
      }
    });
    __syncthreads();
    bool done = false;
    double corrected = 0;
    for (int step = 0; step <= kMostPolishes && !done; step++) {
      const PolishState state = compare(tile, v, ldn, y, ldm, n, least, small, square, panels, lengths, defects);
      corrected = 0;
      if (state.cosine <= 1e-13 && state.defect <= 1e-14) {
        done = state.small <= 1e-13;
        break;
      }
      const bool helps = step < 2 || state.small <= 1e-3;
      const bool turning = step < kMostPolishes && helps && state.turn <= 0.25;
      correct(tile, turning, v, ldn, y, ldm, n, square, panels, defects);
      corrected = 1;
      if (!turning) {
        break;
      }
      const double wrong = state.turn + state.cosine;
      done = state.small <= 1e-13 && n * wrong * wrong <= 1e-14 && n * state.defect * (state.defect + wrong) <= 1e-15;
    }
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
      // As V became of length 1, so did Y grow: by R_jj of its square.
      t.squares[i * n + j] = lengths[j] * (1 + corrected * defects[static_cast<size_t>(j) * ldn + j]);
    }
    if (threadIdx.x == 0) {
      t.settled[i] = done;
    }
    __syncthreads();
  }
}

}  // namespace qkspace
