#include "cpu/flips/plan.h"

#include <algorithm>

namespace qkspace {
namespace {

// Bytes of the packed rows of a strip.
constexpr int64_t kStripBytes = int64_t{6} << 20;

}  // namespace

FlipsDivision::FlipsDivision(const qks_flips_request& r, int32_t d) {
  const int64_t rowBytes = (d + kColumns) * static_cast<int64_t>(sizeof(float) + sizeof(double));
  const int64_t most = std::max<int64_t>(kPassUnits, kStripBytes / rowBytes);
  for (int64_t from = 0; from < r.rows; from += most) {
    const int64_t to = std::min(r.rows, from + most);
    FlipStrip strip;
    strip.from = static_cast<int32_t>(from);
    strip.to = static_cast<int32_t>(to);
    strip.firstPass = passes();
    for (int64_t row = from; row < to;) {
      const int64_t start = row;
      while (row < to && r.unit[row] == r.unit[start]) {
        row++;
      }
      slots_.push_back({r.unit[start], static_cast<int32_t>(start), static_cast<int32_t>(row)});
    }
    while (slots_.size() % kPassUnits != 0) {
      slots_.push_back({-1, strip.from, strip.from});
    }
    strip.passes = passes() - strip.firstPass;
    strips_.push_back(strip);
    stripRows_ = std::max(stripRows_, static_cast<int32_t>(to - from));
  }
}

void FlipsDivision::patterns(const qks_flips_request& r, Pool& pool, int64_t first, int64_t draws,
                             uint16_t* out) const {
  const int64_t words = (r.draws + 31) / 32;
  pool.run(r.threads, passes(), [&](int64_t pass, int) {
    for (int g = 0; g < kGroups; g++) {
      const FlipSlot* group = slots_.data() + pass * kPassUnits + g * kGroupUnits;
      uint16_t* to = out + pass * draws * kGroups + g;
      for (int64_t b = 0; b < draws; b += 32) {
        uint32_t bits[kGroupUnits];
        for (int s = 0; s < kGroupUnits; s++) {
          bits[s] = group[s].unit < 0 ? 0 : r.flips[group[s].unit * words + (first + b) / 32];
        }
        const int64_t end = std::min<int64_t>(32, draws - b);
        for (int64_t i = 0; i < end; i++, to += kGroups) {
          uint32_t pattern = 0;
          for (int s = 0; s < kGroupUnits; s++) {
            pattern |= ((bits[s] >> i) & 1u) << s;
          }
          *to = static_cast<uint16_t>(pattern * kColumns);
        }
      }
    }
  });
}

}  // namespace qkspace
