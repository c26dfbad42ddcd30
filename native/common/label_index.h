// Numbers the distinct labels of a sequence from 0 in order of appearance. Labels are usually small, and then a
// table finds them; a hash map takes those that are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace qkspace {

class LabelIndex {
 public:
  void clear() {
    for (int32_t label : inTable_) {
      table_[static_cast<size_t>(label)] = -1;
    }
    inTable_.clear();
    rest_.clear();
    size_ = 0;
  }

  // The number of the label, a new one if it has none.
  int32_t add(int32_t label) {
    if (label >= kTable) {
      return number(rest_.emplace(label, size_));
    }
    if (static_cast<size_t>(label) >= table_.size()) {
      table_.resize(static_cast<size_t>(label) + 1, -1);
    }
    int32_t& known = table_[static_cast<size_t>(label)];
    if (known < 0) {
      known = size_++;
      inTable_.push_back(label);
    }
    return known;
  }

  // Its number, or -1.
  int32_t find(int32_t label) const {
    if (label < kTable) {
      return static_cast<size_t>(label) < table_.size() ? table_[static_cast<size_t>(label)] : -1;
    }
    const auto found = rest_.find(label);
    return found == rest_.end() ? -1 : found->second;
  }

  int32_t size() const { return size_; }

 private:
  static constexpr int32_t kTable = 1 << 16;

  int32_t number(const std::pair<std::unordered_map<int32_t, int32_t>::iterator, bool>& entry) {
    if (entry.second) {
      size_++;
    }
    return entry.first->second;
  }

  std::vector<int32_t> table_, inTable_;
  std::unordered_map<int32_t, int32_t> rest_;
  int32_t size_ = 0;
};

}  // namespace qkspace
