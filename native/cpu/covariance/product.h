// Sums over the terms of one pair of panels: products of queries and keys, sums of queries, sums of keys.
//
// A block of MR x 2W sums stays in registers over the whole tile: one broadcast and two multiply-adds per query
// element.
#pragma once

#include "cpu/covariance/task.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

// c[MR][NV * W] += scale * sum_t a[t][MR] b[t][NV * W]; rows and columns beyond the matrix are left out.
// A function of its own: inlined into its caller, its sums spill.
template <int NV>
static QKS_NOINLINE void productBlock(const float* a, const float* b, int count, double scale, double* c, int64_t ldc,
                                      int rows, int cols) {
  VF sum[MR][NV];
  for (int i = 0; i < MR; i++) {
    for (int n = 0; n < NV; n++) {
      sum[i][n] = fset(0.0f);
    }
  }
  for (int t = 0; t < count; t++) {
    VF right[NV];
    for (int n = 0; n < NV; n++) {
      right[n] = fload(b + n * W);
    }
    for (int i = 0; i < MR; i++) {
      const VF left = fset(a[i]);
      for (int n = 0; n < NV; n++) {
        sum[i][n] = fmadd(left, right[n], sum[i][n]);
      }
    }
    a += MR;
    b += NV * W;
  }
  if (rows >= MR && cols >= NV * W) {
    const VD factor = dset(scale);
    for (int i = 0; i < MR; i++) {
      for (int n = 0; n < NV; n++) {
        double* to = c + i * ldc + n * W;
        dstore(to, dmadd(widenLow(sum[i][n]), factor, dload(to)));
        dstore(to + W / 2, dmadd(widenHigh(sum[i][n]), factor, dload(to + W / 2)));
      }
    }
    return;
  }
  float edge[MR][NV * W];
  for (int i = 0; i < MR; i++) {
    for (int n = 0; n < NV; n++) {
      fstore(edge[i] + n * W, sum[i][n]);
    }
  }
  for (int i = 0; i < MR && i < rows; i++) {
    for (int j = 0; j < NV * W && j < cols; j++) {
      c[i * ldc + j] += static_cast<double>(edge[i][j]) * scale;
    }
  }
}

// out[i] += scale * lanes[j] over all j = i mod period, i < valid
static inline void foldLanes(const float* lanes, int count, int period, double scale, double* out, int valid) {
  for (int i = 0; i < period && i < valid; i++) {
    double sum = 0;
    for (int j = i; j < count; j += period) {
      sum += static_cast<double>(lanes[j]);
    }
    out[i] += scale * sum;
  }
}

// out[0 .. valid) += scale * sum_t panel[t][NV * W]; four interleaved chains of at most 24 f32 additions
template <int NV>
static QKS_NOINLINE void sumOfKeys(const float* panel, int count, double scale, double* out, int valid) {
  VF sum[4][NV];
  for (int c = 0; c < 4; c++) {
    for (int n = 0; n < NV; n++) {
      sum[c][n] = fset(0.0f);
    }
  }
  const VF one = fset(1.0f);
  int t = 0;
  for (; t + 4 <= count; t += 4) {
    for (int c = 0; c < 4; c++) {
      for (int n = 0; n < NV; n++) {
        sum[c][n] = fmadd(one, fload(panel + ((t + c) * NV + n) * W), sum[c][n]);
      }
    }
  }
  for (; t < count; t++) {
    for (int n = 0; n < NV; n++) {
      sum[0][n] = fmadd(one, fload(panel + (t * NV + n) * W), sum[0][n]);
    }
  }
  float lanes[4 * NV * W];
  for (int c = 0; c < 4; c++) {
    for (int n = 0; n < NV; n++) {
      fstore(lanes + (c * NV + n) * W, sum[c][n]);
    }
  }
  foldLanes(lanes, 4 * NV * W, NV * W, scale, out, valid);
}

// Vectors after which the columns of a query panel come round again: 3 of 8 floats for 6 columns, else 1.
constexpr int kQueryPeriod = MR % W == 0 || W % MR == 0 ? 1 : 3;

constexpr int kQueryStep = 4 * kQueryPeriod * W;  // floats; divides a full tile's
static_assert(kTile * MR % kQueryStep == 0, "whole steps fill a tile");

// Floats of a query panel that sumOfQueries reads.
static inline int queryFloats(int count) { return (count * MR + kQueryStep - 1) / kQueryStep * kQueryStep; }

// out[0 .. valid) += scale * sum_t w_t panel[t][MR], the weights repeated MR times in `wide`; both are zero
// beyond the last term.
static QKS_NOINLINE void sumOfQueries(const float* panel, const float* wide, int count, double scale, double* out,
                                      int valid) {
  constexpr int P = kQueryPeriod;
  VF sum[4][P];
  for (int c = 0; c < 4; c++) {
    for (int n = 0; n < P; n++) {
      sum[c][n] = fset(0.0f);
    }
  }
  for (int i = 0; i < count * MR; i += kQueryStep) {
    for (int c = 0; c < 4; c++) {
      for (int n = 0; n < P; n++) {
        const int at = i + (c * P + n) * W;
        sum[c][n] = fmadd(fload(wide + at), fload(panel + at), sum[c][n]);
      }
    }
  }
  float lanes[4 * P * W];
  for (int c = 0; c < 4; c++) {
    for (int n = 0; n < P; n++) {
      fstore(lanes + (c * P + n) * W, sum[c][n]);
    }
  }
  foldLanes(lanes, 4 * P * W, MR, scale, out, valid);
}

}  // namespace
}  // namespace qkspace
