// How the memory of one task is divided.
//
// Rows of a matrix are padded to whole tiles, and four rows are read together. Matrices stand one cache line further
// apart than they are long: without it, equal places of all matrices would share a cache set.
#pragma once

#include "cpu/flips/task.h"
#include "cpu/memory/align.h"

namespace qkspace {
namespace {

struct FlipsLayout {
  int d, ld, tiles, rows;  // ld = kColumns * tiles; rows: d rounded up to 4
  size_t matrix;           // floats between matrices
  // Byte offsets.
  size_t tables, halves, units, keys, queries, sums, totals, matrices, basis, form, lanczos;
  size_t bytes;
};

static FlipsLayout flipsLayout(int d, int draws, int stripRows) {
  FlipsLayout l;
  l.d = d;
  l.tiles = (d + kColumns - 1) / kColumns;
  l.ld = l.tiles * kColumns;
  l.rows = (d + 3) / 4 * 4;
  l.matrix = static_cast<size_t>(l.rows) * l.ld + 16;
  const size_t n = static_cast<size_t>(draws), line = kColumns * sizeof(float);
  size_t at = 0;
  const auto take = [&at](size_t bytes) {
    const size_t start = at;
    at = alignUp(at + bytes);
    return start;
  };
  l.tables = take(kGroups * kEntries * line);
  l.halves = take(2 * kGroups * 8 * line);
  l.units = take(kPassUnits * line);
  l.keys = take(static_cast<size_t>(l.tiles) * stripRows * line);
  l.queries = take(static_cast<size_t>(d) * stripRows * sizeof(double));
  l.sums = take(n * line);
  l.totals = take(n * 2 * line);
  l.matrices = take(n * l.matrix * sizeof(float));
  l.basis = take(4 * static_cast<size_t>(l.ld) * sizeof(double));
  l.form = take(static_cast<size_t>(l.ld) * l.ld * sizeof(float));
  // Scalars and vectors of one length, then the directions: see flipsHead.
  l.lanczos = take(8 * static_cast<size_t>(l.ld + 16) * sizeof(double) +
                   static_cast<size_t>(l.rows + 4) * l.ld * sizeof(float));
  l.bytes = at;
  return l;
}

static size_t flipsScratch(int32_t d, int32_t draws, int32_t stripRows) {
  return flipsLayout(d, draws, stripRows).bytes;
}

}  // namespace
}  // namespace qkspace
