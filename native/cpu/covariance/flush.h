// A full tile is added to the master sums of its contrast.
//
// A tile whose largest magnitude is outside [2^-40, 2^40] is scaled by a power of two first, which is exact, so that
// neither 1e-30 nor 1e30 leaves the range of f32.
#pragma once

#include "cpu/covariance/product.h"
#include "cpu/covariance/tile.h"
#include "cpu/vectors/current.h"
#include "cpu/vectors/half.h"
#include "cpu/vectors/largest.h"

namespace qkspace {
namespace {

// The power of two to scale a tile by; 1 in the comfortable range, for zero, infinity and NaN.
static float tileScale(uint32_t most) {
  if (most == 0 || most >= 0x7f800000u) {
    return 1.0f;
  }
  int exponent = static_cast<int>(most >> 23) - 127;
  if (exponent >= -40 && exponent <= 40) {
    return 1.0f;
  }
  if (exponent > 120) {
    exponent = 120;
  }
  if (exponent < -120) {
    exponent = -120;
  }
  return bitsToFloat(static_cast<uint32_t>(127 - exponent) << 23);
}

static void scalePanels(float* panels, size_t panelCount, size_t stride, size_t used, float factor) {
  if (factor == 1.0f) {
    return;
  }
  for (size_t p = 0; p < panelCount; p++) {
    for (size_t i = 0; i < used; i++) {
      panels[p * stride + i] *= factor;
    }
  }
}

// t.wide: the weights of a side, each MR times.
static void widenWeights(const CovarianceTile& t, int side) {
  for (int i = 0; i < t.count; i++) {
    for (int j = 0; j < MR; j++) {
      t.wide[i * MR + j] = t.weight[side][i];
    }
  }
  for (int i = t.count * MR; i < queryFloats(t.count); i++) {
    t.wide[i] = 0.0f;
  }
}

// Zeros after the last query of panels that are not full: what an earlier tile left there may not be finite.
static void closePanels(const CovarianceTile& t, float* panels) {
  for (int p = 0; p < t.layout->qPanels; p++) {
    for (int i = t.count * MR; i < queryFloats(t.count); i++) {
      panels[p * t.layout->qStride + i] = 0.0f;
    }
  }
}

// Adds the tile to the sums of its contrast and empties it.
static int32_t flushTile(CovarianceTile& t, const HeadSums& sums) {
  if (t.count == 0) {
    return QKS_OK;
  }
  const CovarianceLayout& l = *t.layout;
  const size_t n = static_cast<size_t>(t.count);
  if (t.shared) {
    t.qMost[1] = t.qMost[0];
  }
  uint32_t qMost[2], kMost[2];
  for (int s = 0; s < 2; s++) {
    qMost[s] = largestBits(t.qMost[s]);
    kMost[s] = largestBits(t.kMost[s]);
    if (!t.batch->allowNonFinite && (qMost[s] >= 0x7f800000u || kMost[s] >= 0x7f800000u)) {
      return QKS_E_NON_FINITE;
    }
  }
  float qScale[2], kScale[2];
  closePanels(t, t.q[0]);
  if (!t.shared) {
    closePanels(t, t.q[1]);
  }
  for (int s = 0; s < 2; s++) {
    qScale[s] = tileScale(qMost[s]);
    kScale[s] = tileScale(kMost[s]);
    if (s == 0 || !t.shared) {
      scalePanels(t.q[s], static_cast<size_t>(l.qPanels), l.qStride, n * MR, qScale[s]);
    }
    scalePanels(t.k[s], static_cast<size_t>(l.kPanels), l.kStride, n * 2 * W, kScale[s]);
  }
  for (int s = 0; s < 2; s++) {
    const float* q = t.shared ? t.q[0] : t.q[s];
    const double back = 1.0 / (static_cast<double>(qScale[s]) * static_cast<double>(kScale[s]));
    widenWeights(t, s);
    for (int p = 0; p < l.qPanels; p++) {
      sumOfQueries(q + p * l.qStride, t.wide, t.count, 1.0 / static_cast<double>(qScale[s]), sums.side[s].q + p * MR,
                   l.d - p * MR);
    }
    for (int j = 0; j < l.kPanels; j++) {
      const float* k = t.k[s] + j * l.kStride;
      const int cols = l.d - j * 2 * W;
      const bool wide = j < l.kPanels - 1 || l.lastWidth == 2 * W;
      double* ksum = sums.side[s].k + j * 2 * W;
      if (wide) {
        sumOfKeys<2>(k, t.count, 1.0 / static_cast<double>(kScale[s]), ksum, cols);
      } else {
        sumOfKeys<1>(k, t.count, 1.0 / static_cast<double>(kScale[s]), ksum, cols);
      }
      for (int p = 0; p < l.qPanels; p++) {
        double* c = sums.side[s].qk + static_cast<int64_t>(p) * MR * l.d + j * 2 * W;
        if (wide) {
          productBlock<2>(q + p * l.qStride, k, t.count, back, c, l.d, l.d - p * MR, cols);
        } else {
          productBlock<1>(q + p * l.qStride, k, t.count, back, c, l.d, l.d - p * MR, cols);
        }
      }
    }
  }
  clearTile(t);
  return QKS_OK;
}

}  // namespace
}  // namespace qkspace
