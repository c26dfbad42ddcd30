// Many matrices that differ only in the signs of the same products:  D_b [d, d] = sum_r s_br c_r q_r k_r^T  for every
// head and draw b. Launches only: nothing here waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows/device_rows.cuh"
#include "cuda/runtime/device.h"

namespace qkspace {

// Rows as f16, dense [heads, rows, width] with zeros behind d: q, and c k. They are scaled by powers of two, by head, so
// that the largest magnitude is in [2^13, 2^14): what f16 rounds off is 2^-12 of a number, at random, and what falls
// below its range is 2^-39 of the largest.
struct HalfRows {
  uint16_t *q, *k;
  int32_t rows, width, d;
};
inline int32_t halfRowWidth(int32_t d) { return (d + 7) / 8 * 8; }

// What HalfRows are made from.
struct NullRows {
  DeviceRows q, k;            // [rows, heads, d]; row r of q against row r of k
  const float* coefficients;  // [rows]
  int32_t group;              // query heads a key head
};

// The heads that are made together: entry i of every array is head heads[i], whose rows are multiplied by
// 2^-queryExponent[i] and 2^-keyExponent[i].
struct NullHeads {
  const int32_t *heads, *queryExponent, *keyExponent;
  int32_t count;
};

// Exponent for rows whose largest magnitude (bits of an f32) is known, times `by`.
int32_t halfExponent(uint32_t largest, float by);

void makeHalfRows(cudaStream_t, const NullRows&, const NullHeads&, const HalfRows& to);

// Signs by row: out [draws, words], bit r % 32 of word r / 32 turns row r; words cover rows in 64s. flips [units,
// flipWords] are those of the units, from draw `first` on; unit [rows].
inline int32_t signWords(int32_t rows) { return (rows + 63) / 64 * 2; }
void spreadSigns(cudaStream_t, const uint32_t* flips, int32_t flipWords, const int32_t* unit, int32_t rows,
                 int64_t first, int32_t draws, uint32_t* out);

// matrices [heads, draws, d, d] of the scaled rows. `signs` from spreadSigns.
void sumNulls(cudaStream_t, const Device&, const HalfRows&, int32_t heads, const uint32_t* signs, int32_t draws,
              float* matrices);
// The same by the definition, in f64, from the rows themselves.
void sumNullsExactly(cudaStream_t, const NullRows&, const NullHeads&, int32_t rows, const uint32_t* signs,
                     int32_t draws, float* matrices);

}  // namespace qkspace
