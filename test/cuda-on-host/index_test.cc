// Index functions of the CUDA backend that run on both sides of the bus, checked on the host. Prints what is wrong
// with the one that is named, and ends with status 1.
#include <cstdio>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuda/products/hopper/wgmma.cuh"
// For what it keeps to itself.
#include "cuda/products/mma/pairs16.cu"
#include "cuda/rows/chunks.h"
#include "cuda/rows/range/magnitudes.cuh"
#include "cuda/rows/slices.h"

namespace qkspace {
namespace {

// Rows that kernels sum in f32 at most (pairs.cc).
constexpr int32_t kShortSlices = 768, kLongSlices = 2048;

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) {
    return;
  }
  failures++;
  std::fprintf(stderr, "%s\n", what.c_str());
}

std::string text(int64_t number) { return std::to_string(number); }

// Every element lies in one tile, and every tile has some.
void tiles() {
  for (const auto& [rows, columns] : {std::pair{64, 64}, {64, 128}, {128, 128}}) {
    for (int32_t d = 1; d <= 300; d++) {
      std::vector<int> covered(static_cast<size_t>(d * d), 0);
      for (uint32_t index = 0; index < tilesOf(d, rows, columns); index++) {
        const TilePlace place = tilePlace(index, d, rows, columns);
        expect(place.row < d && place.column < d, "tile " + text(index) + " of d " + text(d) + " is outside");
        for (int32_t i = place.row; i < std::min(d, place.row + rows); i++) {
          for (int32_t j = place.column; j < std::min(d, place.column + columns); j++) {
            covered[static_cast<size_t>(i * d + j)]++;
          }
        }
      }
      for (const int times : covered) {
        if (times != 1) {
          expect(false, "an element of d " + text(d) + " is covered " + text(times) + " times");
          break;
        }
      }
    }
  }
}

// Blocks lie one behind the other, contrasts slowest, then heads, then sides.
void blocks() {
  for (const int32_t d : {1, 7, 64, 128}) {
    int64_t at = 0;
    for (int64_t contrast = 0; contrast < 3; contrast++) {
      for (int32_t head = 0; head < 5; head++) {
        for (int32_t side = 0; side < 2; side++, at += blockSize(d)) {
          expect(blockOffset(contrast, head, 5, side, d) == at, "block at " + text(at) + " of d " + text(d));
        }
      }
    }
    expect(blockSize(d) == static_cast<int64_t>(d) * d + 2 * d, "block of d " + text(d));
  }
  expect(blockOffset(1000, 0, 1024, 0, 4096) == int64_t{1000} * 1024 * 2 * (4096 * 4098), "more than 32 bits");
}

// Eight neighbours in time (rows of a matrix that ldmatrix reads, pieces that eight threads copy) meet every one of
// the eight groups of four banks once.
bool meetsAllBanks(const int (&at)[8]) {
  std::set<int> groups;
  for (const int byte : at) {
    groups.insert(byte / 16 % 8);
  }
  return groups.size() == 8;
}

template <int kSize>
void piecesOf() {
  constexpr int kPieces = kSize / 8;
  std::set<int> places;
  for (int row = 0; row < kPairRows; row++) {
    for (int piece = 0; piece < kPieces; piece++) {
      const int at = pieceAt<kSize>(row, piece);
      expect(at % 16 == 0 && at >= 0 && at + 16 <= kPairRows * kSize * 2, "piece " + text(piece) + " is outside");
      places.insert(at);
    }
  }
  expect(places.size() == static_cast<size_t>(kPairRows * kPieces), "two pieces share a place");
  int at[8];
  for (int row = 0; row < kPairRows; row += 8) {
    for (int piece = 0; piece < kPieces; piece++) {
      for (int i = 0; i < 8; i++) {
        at[i] = pieceAt<kSize>(row + i, piece);
      }
      expect(meetsAllBanks(at), "ldmatrix at row " + text(row) + ", piece " + text(piece));
    }
  }
  for (int row = 0; row < kPairRows; row++) {
    for (int piece = 0; piece < kPieces; piece += 8) {
      for (int i = 0; i < 8; i++) {
        at[i] = pieceAt<kSize>(row, piece + i);
      }
      expect(meetsAllBanks(at), "copies to row " + text(row) + ", piece " + text(piece));
    }
  }
}

// Pieces of Hopper's panels: eight threads that store neighbouring pieces of a row, or neighbouring rows of a piece,
// meet no bank twice.
void panels() {
  for (const int rows : {32, 64}) {
    std::set<uint32_t> places;
    for (int row = 0; row < rows; row++) {
      int along[8], down[8];
      for (int piece = 0; piece < 16; piece++) {
        const uint32_t at = panelPiece(rows, row, piece);
        expect(at % 16 == 0 && at + 16 <= static_cast<uint32_t>(rows) * 256, "piece " + text(piece) + " is outside");
        places.insert(at);
        along[piece % 8] = static_cast<int>(at);
        expect(piece % 8 != 7 || meetsAllBanks(along), "pieces of row " + text(row));
        for (int i = 0; i < 8; i++) {
          down[i] = static_cast<int>(panelPiece(rows, row / 8 * 8 + i, piece));
        }
        expect(meetsAllBanks(down), "rows of piece " + text(piece));
      }
    }
    expect(places.size() == static_cast<size_t>(rows) * 16, "two pieces share a place");
  }
}

void pieces() {
  piecesOf<64>();
  piecesOf<128>();
  panels();
}

void range() {
  auto outside = [](float x) { return outsideSafeRange(__float_as_uint(x)); };
  const float most = std::ldexp(1.0f, 40), least = std::ldexp(1.0f, -40);
  for (const float x : {0.0f, 1.0f, most, least}) {
    expect(!outside(x), std::to_string(x) + " is safe");
  }
  for (const float x : {std::nextafter(most, INFINITY), std::nextafter(least, 0.0f), 1e-45f, INFINITY, NAN}) {
    expect(outside(x), std::to_string(x) + " is not safe");
  }
  // What it is for: sums of as many products as a slice has stay normal numbers of f32.
  expect(std::isfinite(most * most * static_cast<float>(kLongSlices)), "a sum of the largest products");
  expect(std::isnormal(least * least), "the least product");
}

void sliceLengths() {
  for (const int64_t terms : {0, 1, 127, 128, 129, 5000, 1 << 20, INT32_MAX}) {
    for (const int32_t most : {kShortSlices, kLongSlices}) {
      const int32_t length = sliceLength(terms, most);
      const std::string what = text(terms) + " terms: " + text(length);
      expect(length > 0 && length <= most, what + " is out of range");
      expect(length % kChunkRows == 0, what + " is no whole number of chunks");
      // Work for several processors where there is that much: no longer than the shortest slice, or enough of them.
      expect(length == kChunkRows || terms / length + 1 >= 9, what + " leaves processors idle");
    }
  }
}

// Slices of one list, in order, without a gap and none longer than `most`.
template <typename Next>
void followOn(const std::vector<Slice>& slices, int32_t most, Next&& next) {
  for (const Slice& slice : slices) {
    expect(slice.from < slice.to && slice.to - slice.from <= most, "a slice of " + text(slice.to - slice.from));
    next(slice);
  }
}

// None, or about a whole number of chunks: lengths where an end is easily missed.
int64_t someTerms(std::mt19937& random) {
  return random() % 4 ? kChunkRows * static_cast<int64_t>(random() % 60) + static_cast<int64_t>(random() % 3) : 0;
}

void slicesOfAllTerms() {
  std::mt19937 random(1);
  for (int round = 0; round < 300; round++) {
    const int32_t contrasts = 1 + static_cast<int32_t>(random() % 6);
    std::vector<int64_t> start(1, 0);
    for (int32_t c = 0; c < contrasts; c++) {
      start.push_back(start.back() + someTerms(random));
    }
    const int64_t from = static_cast<int64_t>(random() % static_cast<uint64_t>(start.back() + 1));
    const int64_t to = from + static_cast<int64_t>(random() % static_cast<uint64_t>(start.back() - from + 1));
    int64_t at = from;
    const std::vector<Slice> slices = slicesOfTerms(start.data(), contrasts, from, to, kShortSlices);
    followOn(slices, kShortSlices, [&](const Slice& slice) {
      expect(slice.from + from == at, "terms before " + text(slice.from + from) + " are left out or met twice");
      at = slice.to + from;
      expect(start[static_cast<size_t>(slice.contrast)] <= slice.from + from &&
                 at <= start[static_cast<size_t>(slice.contrast) + 1],
             "a slice has terms of another contrast");
    });
    expect(at == to, "terms behind " + text(at) + " are left out");
  }
}

void slicesOfAllRuns() {
  std::mt19937 random(2);
  for (int round = 0; round < 300; round++) {
    std::vector<LabelRun> runs(1 + random() % 8);
    for (LabelRun& run : runs) {
      run.contrast = static_cast<int32_t>(random() % 3);
      run.termCount = someTerms(random);
    }
    const int64_t from = static_cast<int64_t>(random() % runs.size()), to = static_cast<int64_t>(runs.size());
    std::vector<int64_t> reached(runs.size(), 0);
    const std::vector<Slice> slices = slicesOfRuns(runs.data(), from, to, kShortSlices);
    int32_t before = 0;
    followOn(slices, kShortSlices, [&](const Slice& slice) {
      const size_t run = static_cast<size_t>(slice.run + from);
      expect(slice.run >= before, "runs are out of order");
      before = slice.run;
      expect(slice.contrast == runs[run].contrast, "a slice has another contrast than its run");
      expect(slice.from == reached[run], "terms of a run are left out or met twice");
      reached[run] = slice.to;
    });
    for (int64_t r = from; r < to; r++) {
      expect(reached[static_cast<size_t>(r)] == runs[static_cast<size_t>(r)].termCount, "a run's end is left out");
    }
  }
}

// Terms of one query and up to four keys a side; chunks of them, with rows that stay and that go.
void chunksOfTerms() {
  std::mt19937 random(3);
  constexpr int32_t kRows = 500, kD = 4;
  constexpr size_t kRowBytes = kD * sizeof(float);
  RowNumbers queryNumbers, keyNumbers;
  for (int round = 0; round < 200; round++) {
    const bool stay = round % 2 == 0;
    const int32_t count = 1 + static_cast<int32_t>(random() % 2000);
    std::vector<int32_t> order, query, offsets(1, 0), keys;
    for (int32_t t = 0; t < count; t++) {
      order.push_back(t);
      query.push_back(static_cast<int32_t>(random() % kRows));
      for (uint32_t j = random() % 4 + 1; j > 0; j--) {
        keys.push_back(static_cast<int32_t>(random() % kRows));
      }
      offsets.push_back(static_cast<int32_t>(keys.size()));
    }
    PreparedBatch batch{};
    batch.q.rows = batch.k.rows = kRows;
    batch.order = order.data();
    for (TermSide& side : batch.side) {
      side = {query.data(), offsets.data(), keys.data(), nullptr, nullptr, nullptr};
    }
    const int64_t start[2] = {0, count};
    // Kept from batch to batch, as the backend does.
    BatchRows q(batch.q, 1, kD, nullptr, queryNumbers), k(batch.k, 1, kD, nullptr, keyNumbers);
    const ChunkLimits limits{kRowBytes * (1 + random() % 300), 56 * (1 + random() % 1000), stay};
    Chunks chunks(batch, slicesOfTerms(start, 1, 0, count, kShortSlices), {}, limits, q, k);
    std::vector<int32_t> qThere, kThere;  // by slot
    int64_t at = 0;
    for (Chunk chunk; chunks.next(chunk);) {
      if (!stay) {
        qThere.clear();
        kThere.clear();
      }
      expect(q.firstBrought() == static_cast<int32_t>(qThere.size()), "queries are not behind those that are there");
      qThere.insert(qThere.end(), q.brought().begin(), q.brought().end());
      kThere.insert(kThere.end(), k.brought().begin(), k.brought().end());
      expect(stay || q.bytesBrought() + k.bytesBrought() <= limits.rows || chunk.termTo == chunk.termFrom + 1,
             "a chunk has more rows than its limit");
      expect(chunk.termFrom == at, "terms before " + text(chunk.termFrom) + " are left out or met twice");
      for (const Slice& slice : chunk.terms) {
        expect(slice.from + chunk.termFrom == at, "slices of a chunk do not follow on");
        at = slice.to + chunk.termFrom;
      }
      expect(at == chunk.termTo, "a chunk's slices end elsewhere than its terms");
      for (int64_t t = chunk.termFrom; t < chunk.termTo; t++) {
        const size_t slot = static_cast<size_t>(q.slot(query[static_cast<size_t>(t)]));
        expect(slot < qThere.size() && qThere[slot] == query[static_cast<size_t>(t)],
               "a query is not where it should be");
        for (int32_t j = offsets[static_cast<size_t>(t)]; j < offsets[static_cast<size_t>(t) + 1]; j++) {
          const int32_t key = keys[static_cast<size_t>(j)];
          const size_t keySlot = static_cast<size_t>(k.slot(key));
          expect(keySlot < kThere.size() && kThere[keySlot] == key, "a key is not where it should be");
        }
      }
    }
    expect(at == count, "terms behind " + text(at) + " are left out");
    if (stay) {
      expect(qThere.size() <= kRows && kThere.size() <= kRows, "rows that stay are brought twice");
    }
  }
}

const struct {
  const char* name;
  void (*run)();
} kChecks[] = {{"tiles", tiles},
               {"blocks", blocks},
               {"pieces", pieces},
               {"range", range},
               {"slice-lengths", sliceLengths},
               {"slices-of-terms", slicesOfAllTerms},
               {"slices-of-runs", slicesOfAllRuns},
               {"chunks", chunksOfTerms}};

}  // namespace
}  // namespace qkspace

int main(int count, char** arguments) {
  for (const auto& check : qkspace::kChecks) {
    if (count == 2 && std::strcmp(check.name, arguments[1]) == 0) {
      check.run();
      return qkspace::failures ? 1 : 0;
    }
  }
  std::fprintf(stderr, "name one check\n");
  return 2;
}
