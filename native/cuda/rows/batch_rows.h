// The rows of a batch's queries or keys: how large they are, and where on the device each of them is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/prepared_batch.h"
#include "cuda/rows/device_rows.cuh"
#include "cuda/rows/resident_rows.h"
#include "cuda/runtime/copies/narrow.h"
#include "cuda/runtime/copies/transfer.h"

namespace qkspace {

// Numbers of all rows of a tensor, kept from batch to batch: those below `first` are void.
struct RowNumbers {
  std::vector<int32_t> number;
  int32_t first = 0;
};

// Rows get slots in the order in which terms first read them. What a chunk brings can be taken back, and all that is
// there forgotten, without going through the rows: numbers run on over all chunks and batches.
class BatchRows {
 public:
  // `resident`: all rows are on the device already, at their own index.
  BatchRows(const RowView& view, int32_t heads, int32_t d, const ResidentRows* resident, RowNumbers& numbers)
      : view_(view), heads_(heads), d_(d), resident_(resident), number_(numbers.number), first_(numbers.first) {
    if (!resident && number_.size() < static_cast<size_t>(view.rows)) {
      number_.resize(static_cast<size_t>(view.rows), -1);
    }
  }

  BatchRows(const BatchRows&) = delete;
  BatchRows& operator=(const BatchRows&) = delete;
  // The next batch finds nothing.
  ~BatchRows() { forget(); }

  const RowView& view() const { return view_; }
  const ResidentRows* resident() const { return resident_; }
  int32_t heads() const { return heads_; }
  int32_t d() const { return d_; }
  size_t rowBytes() const { return static_cast<size_t>(heads_) * static_cast<size_t>(d_) * elementSize(view_.dtype); }
  DeviceRows at(const char* data) const {
    return {resident_ ? resident_->data.get<void>() : data, view_.dtype, heads_, d_};
  }

  // The row will be there: it gets a slot if it has none.
  void bring(int32_t row) {
    if (resident_) {
      return;
    }
    int32_t& number = number_[static_cast<size_t>(row)];
    if (number >= first_) {
      return;
    }
    number = first_ + before_ + static_cast<int32_t>(brought_.size());
    brought_.push_back(row);
  }
  // How rows have travelled so far (narrow.h).
  Travel travel = Travel::kUnknown;

  // Its place on the device.
  int32_t slot(int32_t row) const { return resident_ ? row : number_[static_cast<size_t>(row)] - first_; }

  // Rows that have been brought since the last chunk, in order of their slots, and the slot of the first.
  const std::vector<int32_t>& brought() const { return brought_; }
  int32_t firstBrought() const { return before_; }
  size_t bytesBrought() const { return brought_.size() * rowBytes(); }
  // Leaves `count` of them.
  void takeBack(size_t count) {
    for (size_t i = count; i < brought_.size(); i++) {
      number_[static_cast<size_t>(brought_[i])] = -1;
    }
    brought_.resize(count);
  }

  // A new chunk: what is there stays.
  void keep() {
    before_ += static_cast<int32_t>(brought_.size());
    brought_.clear();
  }
  // A new chunk: nothing is there.
  void forget() {
    keep();
    if (first_ > std::numeric_limits<int32_t>::max() / 2) {
      std::fill(number_.begin(), number_.end(), -1);
      first_ = 0;
    } else {
      first_ += before_;
    }
    before_ = 0;
  }

 private:
  const RowView& view_;
  const int32_t heads_, d_;
  const ResidentRows* const resident_;
  std::vector<int32_t>& number_;
  int32_t& first_;
  std::vector<int32_t> brought_;
  int32_t before_ = 0;
};

}  // namespace qkspace
