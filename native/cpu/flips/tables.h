// Tables of signed sums, for one tile: row i of the matrix, kColumns columns j.
//
//   unit u:      M_u[j] = sum over its rows of c_r q_ri k_rj
//   half table:  the 8 sums (+-) M_a (+-) M_b (+-) M_c of three units
//   table:       the 64 sums of two halves; entry p has a minus sign where p has a bit
//
// Rows of a unit are summed once, not once a draw: in f64 where there are several, as they may cancel. All else is f32.
// Negation is exact and rounding symmetric, so entry p is the negative of entry 63 - p to the last bit.
#pragma once

#include "cpu/flips/task.h"
#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

constexpr int kHalf = 8 * kColumns;          // floats of a half table
constexpr int kTable = kEntries * kColumns;  // floats of a table

// Units of one row each, which lie one behind the other.
static inline void scaleRows(const double* queries, const float* keys, float* units) {
  for (int s = 0; s < kPassUnits; s++) {
    const VF x = fset(static_cast<float>(queries[s]));
    for (int j = 0; j < kColumns; j += W) {
      fstore(units + s * kColumns + j, fmul(x, fload(keys + s * kColumns + j)));
    }
  }
}

// `queries` those of row i and `keys` those of the tile; both start with the row `first`.
static inline void sumUnits(const FlipSlot* slots, int32_t first, const double* queries, const float* keys,
                            float* units) {
  const int32_t start = slots[0].from;
  if (slots[kPassUnits - 1].unit - slots[0].unit == kPassUnits - 1 && slots[kPassUnits - 1].to - start == kPassUnits) {
    scaleRows(queries + (start - first), keys + static_cast<size_t>(start - first) * kColumns, units);
    return;
  }
  for (int s = 0; s < kPassUnits; s++, units += kColumns) {
    const FlipSlot slot = slots[s];
    const int32_t from = slot.from - first, to = slot.to - first;
    if (to - from == 1) {
      const VF x = fset(static_cast<float>(queries[from]));
      const float* k = keys + static_cast<size_t>(from) * kColumns;
      for (int j = 0; j < kColumns; j += W) {
        fstore(units + j, fmul(x, fload(k + j)));
      }
      continue;
    }
    for (int j = 0; j < kColumns; j += W) {
      VD low = dset(0.0), high = low;
      for (int32_t r = from; r < to; r++) {
        const VD x = dset(queries[r]);
        const VF k = fload(keys + static_cast<size_t>(r) * kColumns + j);
        low = dmadd(x, widenLow(k), low);
        high = dmadd(x, widenHigh(k), high);
      }
      fstore(units + j, narrow(low, high));
    }
  }
}

static inline void makeHalf(const float* units, float* half) {
  for (int j = 0; j < kColumns; j += W) {
    const VF a = fload(units + j), b = fload(units + kColumns + j), c = fload(units + 2 * kColumns + j);
    const VF sum = fadd(a, b), difference = fsub(b, a);
    float* to = half + j;
    fstore(to, fadd(sum, c));
    fstore(to + kColumns, fadd(difference, c));
    fstore(to + 2 * kColumns, fsub(c, difference));
    fstore(to + 3 * kColumns, fsub(c, sum));
    fstore(to + 4 * kColumns, fsub(sum, c));
    fstore(to + 5 * kColumns, fsub(difference, c));
    fstore(to + 6 * kColumns, fsub(fsub(a, b), c));
    fstore(to + 7 * kColumns, fsub(fset(0.0f), fadd(sum, c)));
  }
}

static inline void makeHalves(const float* units, float* halves) {
  for (int h = 0; h < 2 * kGroups; h++) {
    makeHalf(units + 3 * h * kColumns, halves + h * kHalf);
  }
}

static inline void makeTables(const float* halves, float* tables) {
  for (int g = 0; g < kGroups; g++, halves += 2 * kHalf) {
    for (int j = 0; j < kColumns; j += W) {
      VF low[8];
      for (int p = 0; p < 8; p++) {
        low[p] = fload(halves + p * kColumns + j);
      }
      for (int h = 0; h < 8; h++) {
        const VF high = fload(halves + kHalf + h * kColumns + j);
        float* to = tables + g * kTable + 8 * h * kColumns + j;
        for (int p = 0; p < 8; p++) {
          fstore(to + p * kColumns, fadd(low[p], high));
        }
      }
    }
  }
}

}  // namespace
}  // namespace qkspace
