// The weighted sum of one term's keys.
//
// Precision. Keys are summed in f32 over chunks of at most kChunk, the chunks in f64, and the sum is rounded once to
// f32. A sum that leaves the range of f32 on the way is made again in f64: the mean of its keys may be inside.
#pragma once

#include "cpu/rows/rows.h"
#include "cpu/vectors/current.h"
#include "cpu/vectors/largest.h"

namespace qkspace {
namespace {

constexpr int kChunk = 32;  // keys of a term that are summed in f32

// acc[0 .. N*W) += sum_j a_j p[offset_j + 0 .. N*W)
template <int DT, int N>
static inline void addColumns(const typename Element<DT>::type* p, const int64_t* offsets, const float* weights,
                              int count, double* acc) {
  VD sum[N][2];
  for (int n = 0; n < N; n++) {
    sum[n][0] = dload(acc + n * W);
    sum[n][1] = dload(acc + n * W + W / 2);
  }
  for (int j = 0; j < count; j++) {
    const typename Element<DT>::type* x = p + offsets[j];
    const VD a = dset(weights ? static_cast<double>(weights[j]) : 1.0);
    for (int n = 0; n < N; n++) {
      const VF f = Element<DT>::many(x + n * W);
      sum[n][0] = dmadd(a, widenLow(f), sum[n][0]);
      sum[n][1] = dmadd(a, widenHigh(f), sum[n][1]);
    }
  }
  for (int n = 0; n < N; n++) {
    dstore(acc + n * W, sum[n][0]);
    dstore(acc + n * W + W / 2, sum[n][1]);
  }
}

// acc[0 .. N*W) += sum_j a_j p[offset_j + 0 .. N*W) as above, of at most kChunk keys, in f32
template <int DT, int N>
static inline void addChunk(const typename Element<DT>::type* p, const int64_t* offsets, const float* weights,
                            int count, double* acc) {
  VF sum[N];
  for (int n = 0; n < N; n++) {
    sum[n] = fset(0.0f);
  }
  for (int j = 0; j < count; j++) {
    const typename Element<DT>::type* x = p + offsets[j];
    const VF a = fset(weights ? weights[j] : 1.0f);
    for (int n = 0; n < N; n++) {
      sum[n] = fmadd(a, Element<DT>::many(x + n * W), sum[n]);
    }
  }
  for (int n = 0; n < N; n++) {
    double* to = acc + n * W;
    dstore(to, dadd(dload(to), widenLow(sum[n])));
    dstore(to + W / 2, dadd(dload(to + W / 2), widenHigh(sum[n])));
  }
}

template <int DT, bool EXACT>
static void addKeysAs(const RowView& v, const int64_t* offsets, const float* weights, int count, int d, double* acc) {
  const typename Element<DT>::type* p = static_cast<const typename Element<DT>::type*>(v.data);
  int i = 0;
  if (v.dimStride == 1 && EXACT) {
    for (; i + W <= d; i += W) {
      addColumns<DT, 1>(p + i, offsets, weights, count, acc + i);
    }
  }
  if (v.dimStride == 1 && !EXACT) {
    for (; i + 8 * W <= d; i += 8 * W) {
      addChunk<DT, 8>(p + i, offsets, weights, count, acc + i);
    }
    for (; i + 4 * W <= d; i += 4 * W) {
      addChunk<DT, 4>(p + i, offsets, weights, count, acc + i);
    }
    for (; i + W <= d; i += W) {
      addChunk<DT, 1>(p + i, offsets, weights, count, acc + i);
    }
  }
  for (; i < d; i++) {
    double sum = acc[i];
    for (int j = 0; j < count; j++) {
      double x = static_cast<double>(Element<DT>::one(p + offsets[j] + i * v.dimStride));
      sum += weights ? static_cast<double>(weights[j]) * x : x;
    }
    acc[i] = sum;
  }
}

template <bool EXACT>
static void sumKeysInto(const RowView& v, int64_t headOffset, const int32_t* keys, const float* weights, int64_t count,
                        double scale, int d, double* acc, int rowLength, float* row) {
  memset(acc, 0, static_cast<size_t>(rowLength) * sizeof(double));
  int64_t offsets[kChunk];
  for (int64_t from = 0; from < count; from += kChunk) {
    const int part = static_cast<int>(count - from < kChunk ? count - from : kChunk);
    for (int j = 0; j < part; j++) {
      offsets[j] = rowOffset(v, keys[from + j]) + headOffset;
    }
    const float* w = weights ? weights + from : nullptr;
    if (v.dtype == QKS_F32) {
      addKeysAs<QKS_F32, EXACT>(v, offsets, w, part, d, acc);
    } else if (v.dtype == QKS_F16) {
      addKeysAs<QKS_F16, EXACT>(v, offsets, w, part, d, acc);
    } else {
      addKeysAs<QKS_BF16, EXACT>(v, offsets, w, part, d, acc);
    }
  }
  const VD factor = dset(scale);
  for (int i = 0; i < d; i += W) {
    fstore(row + i, narrow(dmul(dload(acc + i), factor), dmul(dload(acc + i + W / 2), factor)));
  }
  for (int i = d; i < rowLength; i++) {
    row[i] = 0;
  }
}

// row = scale * sum_j a_j k_j over a set of keys
static void sumKeys(const RowView& v, int64_t headOffset, const int32_t* keys, const float* weights, int64_t count,
                    double scale, int d, double* acc, int rowLength, float* row) {
  if (count == 1) {
    const double factor = weights ? scale * static_cast<double>(weights[0]) : scale;
    loadRow(v, rowOffset(v, keys[0]) + headOffset, d, row);
    if (factor != 1.0) {
      for (int i = 0; i < d; i++) {
        row[i] = static_cast<float>(static_cast<double>(row[i]) * factor);
      }
    }
    return;
  }
  sumKeysInto<false>(v, headOffset, keys, weights, count, scale, d, acc, rowLength, row);
  VF most = fset(0.0f);
  for (int i = 0; i < d; i += W) {
    most = fmost(most, fload(row + i));
  }
  if (largestBits(most) >= 0x7f800000u) {
    sumKeysInto<true>(v, headOffset, keys, weights, count, scale, d, acc, rowLength, row);
  }
}

}  // namespace
}  // namespace qkspace
