// What the kernel for sign flips is asked to do: some draws of one head. Plain structs and raw pointers only, as it is
// compiled once for every instruction set.
#pragma once

#include "abi.h"
#include "common/prepared_batch.h"
#include "cpu/vectors/before_target.h"

namespace qkspace {

constexpr int kGroupUnits = 6;              // units whose signed sums are a table
constexpr int kEntries = 1 << kGroupUnits;  // of a table
constexpr int kGroups = 6;                  // tables that are read together
constexpr int kPassUnits = kGroupUnits * kGroups;
constexpr int kColumns = 16;      // columns of a tile, one cache line
constexpr int kChunkPasses = 16;  // passes that are summed in f32

// Rows [from, to) of a unit, or nothing where unit is -1.
struct FlipSlot {
  int32_t unit, from, to;
};

// Rows that are packed together. A unit may go on in the next strip.
struct FlipStrip {
  int32_t from, to;
  int64_t firstPass, passes;
};

// What all tasks of a call share.
struct FlipsPlan {
  RowView q, k;
  int32_t d, group, rank, components;
  const float* coefficients;  // [rows]
  const FlipSlot* slots;      // [passes, kPassUnits]
  const FlipStrip* strips;
  int32_t stripCount, stripRows;  // rows of the longest
  // [passes, patternDraws, kGroups]: kColumns times the bits of a group's units in a draw.
  const uint16_t* patterns;
  int64_t patternDraws;
};

struct FlipsTask {
  const FlipsPlan* plan;
  int32_t head;
  int64_t firstDraw;  // among those of the patterns
  int32_t draws;      // flipsScratch was asked for as many at least
  // Powers of two that bring the largest coefficient times query entry, and the largest key entry, to at most 1.
  double queryScale;
  float keyScale;
  double scale;         // what they divided by
  const double *u, *v;  // [d, rank] of this head
  void* scratch;        // flipsScratch bytes, 64-aligned
  const qks_cancel* cancel;
  double* out;  // [draws, components]
};

}  // namespace qkspace
