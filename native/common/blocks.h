// Long lists, shared out among threads in blocks of a length that does not depend on their number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/pool.h"

namespace qkspace {

class Blocks {
 public:
  // `threads`: as Pool::run's limit.
  Blocks(Pool& pool, int threads, int64_t count, int64_t length = 16384)
      : pool_(pool), threads_(threads), count_(count), length_(length) {}

  int64_t blocks() const { return (count_ + length_ - 1) / length_; }

  // body(block, from, to) for every block.
  template <typename Body>
  void each(Body&& body) const {
    pool_.run(threads_, blocks(),
              [&](int64_t block, int) { body(block, block * length_, std::min(count_, (block + 1) * length_)); });
  }

  // The first index that is wrong(index), -1 if none is.
  template <typename Wrong>
  int64_t first(Wrong&& wrong) const {
    std::vector<int64_t> found(static_cast<size_t>(blocks()), -1);
    each([&](int64_t block, int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++) {
        if (wrong(i)) {
          found[static_cast<size_t>(block)] = i;
          return;
        }
      }
    });
    for (const int64_t i : found) {
      if (i >= 0) {
        return i;
      }
    }
    return -1;
  }

 private:
  Pool& pool_;
  const int threads_;
  const int64_t count_, length_;
};

}  // namespace qkspace
