// Adds to each draw's sums of a tile the entries that its flips choose: the method of four Russians. One addition
// stands for the products of six units, and the sums are read and written once for six tables.
//
//   sums [draws, kColumns] f32, contiguous: places of the matrices themselves would share a cache set
//   totals [draws, kColumns] f64, of chunks of kChunkPasses passes
//
// The entries of a pass are added as a tree, and kChunkPasses passes in f32: an error of at most
// (kChunkPasses / 2 + 7) * 2^-24 of the sum of magnitudes. Draws are independent of each other, so a draw's sums do not
// depend on the others. Few draws read the half tables, which gives the same bits and spares the tables.
#pragma once

#include "cpu/flips/tables.h"

namespace qkspace {
namespace {

constexpr int kFewDraws = 48;

template <bool kTables>
static inline VF entryOf(const float* base, int g, uint32_t pattern) {
  if (kTables) {
    return fload(base + g * kTable + pattern);
  }
  constexpr uint32_t kLow = 7 * kColumns;
  const float* half = base + 2 * g * kHalf;
  return fadd(fload(half + (pattern & kLow)), fload(half + kHalf + ((pattern >> 3) & kLow)));
}

template <bool kTables, bool kFirst>
static void addPass(const float* base, const uint16_t* patterns, int draws, float* sums) {
  for (int b = 0; b < draws; b++, patterns += kGroups, sums += kColumns) {
    const uint32_t p0 = patterns[0], p1 = patterns[1], p2 = patterns[2], p3 = patterns[3], p4 = patterns[4],
                   p5 = patterns[5];
    for (int j = 0; j < kColumns; j += W) {
      const VF x = fadd(entryOf<kTables>(base + j, 0, p0), entryOf<kTables>(base + j, 1, p1));
      const VF y = fadd(entryOf<kTables>(base + j, 2, p2), entryOf<kTables>(base + j, 3, p3));
      const VF z = fadd(entryOf<kTables>(base + j, 4, p4), entryOf<kTables>(base + j, 5, p5));
      const VF all = fadd(fadd(x, y), z);
      fstore(sums + j, kFirst ? all : fadd(fload(sums + j), all));
    }
  }
}

static inline void addTotals(const float* sums, int draws, bool first, double* totals) {
  const size_t count = static_cast<size_t>(draws) * kColumns;
  for (size_t i = 0; i < count; i += W) {
    const VF x = fload(sums + i);
    if (first) {
      dstore(totals + i, widenLow(x));
      dstore(totals + i + W / 2, widenHigh(x));
    } else {
      dstore(totals + i, dadd(dload(totals + i), widenLow(x)));
      dstore(totals + i + W / 2, dadd(dload(totals + i + W / 2), widenHigh(x)));
    }
  }
}

// To, or onto, the same tile of every matrix.
static inline void putTile(const float* sums, const double* totals, int draws, bool first, size_t matrix, float* to) {
  for (int b = 0; b < draws; b++, to += matrix) {
    for (int j = 0; j < kColumns; j += W) {
      const size_t at = static_cast<size_t>(b) * kColumns + j;
      const VF x = totals ? narrow(dload(totals + at), dload(totals + at + W / 2)) : fload(sums + at);
      fstore(to + j, first ? x : fadd(x, fload(to + j)));
    }
  }
}

struct FlipsMemory {
  float *tables, *halves, *units, *keys, *sums;
  double *queries, *totals;
};

// One tile of a strip for all draws. `queries` those of the row, `keys` those of the columns.
static void sumTile(const FlipsTask& t, const FlipStrip& strip, const FlipsMemory& m, const double* queries,
                    const float* keys, bool firstStrip, size_t matrix, float* to) {
  const FlipsPlan& p = *t.plan;
  for (int64_t pass = 0; pass < strip.passes; pass++) {
    const int64_t at = strip.firstPass + pass;
    sumUnits(p.slots + at * kPassUnits, strip.from, queries, keys, m.units);
    makeHalves(m.units, m.halves);
    const uint16_t* patterns = p.patterns + (at * p.patternDraws + t.firstDraw) * kGroups;
    const bool first = pass % kChunkPasses == 0;
    if (t.draws < kFewDraws) {
      (first ? addPass<false, true> : addPass<false, false>)(m.halves, patterns, t.draws, m.sums);
    } else {
      makeTables(m.halves, m.tables);
      (first ? addPass<true, true> : addPass<true, false>)(m.tables, patterns, t.draws, m.sums);
    }
    if (strip.passes > kChunkPasses && (pass % kChunkPasses == kChunkPasses - 1 || pass == strip.passes - 1)) {
      addTotals(m.sums, t.draws, pass < kChunkPasses, m.totals);
    }
  }
  putTile(m.sums, strip.passes > kChunkPasses ? m.totals : nullptr, t.draws, firstStrip, matrix, to);
}

}  // namespace
}  // namespace qkspace
