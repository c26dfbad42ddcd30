// Largest singular values of one head's matrices under sign flips (README.md):
//
//   D_b = sum_r (+-) c_r q_r k_r^T, the sign that of row r's unit in draw b
//
// All matrices of the task are made first, a tile at a time (accumulate.h). Then the largest singular values of each are
// found (largest/).
#pragma once

#include "cpu/flips/accumulate.h"
#include "cpu/flips/largest/deflate.h"
#include "cpu/flips/largest/lanczos.h"
#include "cpu/flips/layout.h"
#include "cpu/flips/pack.h"

namespace qkspace {
namespace {

static bool flipsCancelled(const FlipsTask& t) {
  return t.cancel && t.cancel->poll && t.cancel->poll(t.cancel->user) != 0;
}

// QKS_OK or QKS_E_ABORTED.
static int32_t sumMatrices(const FlipsTask& t, const FlipsLayout& l, char* base) {
  const FlipsPlan& p = *t.plan;
  const auto floats = [base](size_t at) { return reinterpret_cast<float*>(base + at); };
  const auto doubles = [base](size_t at) { return reinterpret_cast<double*>(base + at); };
  FlipsMemory m = {floats(l.tables), floats(l.halves),   floats(l.units),  floats(l.keys),
                   floats(l.sums),   doubles(l.queries), doubles(l.totals)};
  float* matrices = floats(l.matrices);
  const size_t length = static_cast<size_t>(p.stripRows);
  for (int32_t s = 0; s < p.stripCount; s++) {
    packStrip(t, p.strips[s], l, floats(l.lanczos), m.keys, m.queries);
    for (int i = 0; i < l.d; i++) {
      for (int tile = 0; tile < l.tiles; tile++) {
        if (flipsCancelled(t)) {
          return QKS_E_ABORTED;
        }
        sumTile(t, p.strips[s], m, m.queries + static_cast<size_t>(i) * length,
                m.keys + static_cast<size_t>(tile) * length * kColumns, s == 0, l.matrix,
                matrices + static_cast<size_t>(i) * l.ld + tile * kColumns);
      }
    }
  }
  for (int b = 0; b < t.draws; b++) {
    float* matrix = matrices + static_cast<size_t>(b) * l.matrix;
    for (size_t i = static_cast<size_t>(l.d) * l.ld; i < static_cast<size_t>(l.rows) * l.ld; i++) {
      matrix[i] = 0;
    }
  }
  return QKS_OK;
}

// Brings the entries of a matrix to about 1 by a power of two where their squares might leave the range of f32. Returns
// what it divided by, 0 for a zero matrix.
static double bringToOne(float* a, size_t count) {
  VF most = fset(0.0f);
  for (size_t i = 0; i < count; i += W) {
    most = fmost(most, fload(a + i));
  }
  const uint32_t bits = largestBits(most);
  if (bits == 0) {
    return 0;
  }
  int exponent = 0;
  (void)frexp(static_cast<double>(bitsToFloat(bits)), &exponent);
  if (exponent > -24 && exponent < 40) {
    return 1;
  }
  // In two steps: the factor itself may be beyond the range of f32.
  const int half = exponent / 2;
  const VF first = fset(static_cast<float>(ldexp(1.0, -half)));
  const VF second = fset(static_cast<float>(ldexp(1.0, half - exponent)));
  for (size_t i = 0; i < count; i += W) {
    fstore(a + i, fmul(fmul(fload(a + i), first), second));
  }
  return ldexp(1.0, exponent);
}

static void decomposeMatrix(const FlipsTask& t, const FlipsLayout& l, float* a, double* basis,
                            const LanczosMemory& memory, double* out) {
  const FlipsPlan& p = *t.plan;
  double *u = basis, *v = basis + l.ld, *along = v + l.ld;
  double scale = t.scale;
  for (int c = 0; c <= p.rank; c++) {
    const int value = c - (p.rank - p.components + 1);
    if (value >= 0) {
      const double one = bringToOne(a, static_cast<size_t>(l.rows) * l.ld);
      scale *= one;
      out[value] = one > 0 ? scale * largestSingularValue(a, l.d, l.ld, l.rows, memory) : 0;
    }
    if (c < p.rank) {
      for (int i = 0; i < l.ld; i++) {
        u[i] = i < l.d ? t.u[i * p.rank + c] : 0;
        v[i] = i < l.d ? t.v[i * p.rank + c] : 0;
      }
      deflate(a, l.ld, l.rows, u, v, along);
    }
  }
}

// QKS_OK or QKS_E_ABORTED.
static int32_t flipsHead(const FlipsTask& t) {
  const FlipsPlan& p = *t.plan;
  const FlipsLayout l = flipsLayout(p.d, t.draws, p.stripRows);
  char* base = static_cast<char*>(t.scratch);
  const int32_t status = sumMatrices(t, l, base);
  if (status != QKS_OK) {
    return status;
  }
  LanczosMemory m;
  double* scalars = reinterpret_cast<double*>(base + l.lanczos);
  const size_t each = static_cast<size_t>(l.ld) + 16;
  m.diagonal = scalars;
  m.beside = scalars + each;
  m.vector = scalars + 2 * each;
  m.product = reinterpret_cast<float*>(scalars + 3 * each);
  m.residual = m.product + 2 * each;
  m.along = m.residual + 2 * each;
  m.form = reinterpret_cast<float*>(base + l.form);
  m.directions = reinterpret_cast<float*>(scalars + 8 * each);
  for (int b = 0; b < t.draws; b++) {
    if (b % 16 == 0 && flipsCancelled(t)) {
      return QKS_E_ABORTED;
    }
    decomposeMatrix(t, l, reinterpret_cast<float*>(base + l.matrices) + static_cast<size_t>(b) * l.matrix,
                    reinterpret_cast<double*>(base + l.basis), m, t.out + static_cast<int64_t>(b) * p.components);
  }
  return QKS_OK;
}

}  // namespace
}  // namespace qkspace
