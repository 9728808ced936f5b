// A set of ordinals as coalesced intervals: memory grows with the number of gaps, not with the number of cells.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/container/btree_map.h"

namespace promptsweep::coordinator {

// Ordinals [begin, end).
struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
  bool contains(uint64_t ordinal) const { return begin <= ordinal && ordinal < end; }
  friend bool operator==(const Range&, const Range&) = default;
};

// Thread-compatible. Every operation is O(log gaps) plus the number of intervals touched. An empty or inverted range is ignored.
class OrdinalSet {
 public:
  // Each returns how many ordinals it really added or removed.
  uint64_t Add(uint64_t begin, uint64_t end);
  uint64_t Remove(uint64_t begin, uint64_t end);
  void Clear();

  uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool Contains(uint64_t ordinal) const;
  // Members within [begin, end).
  uint64_t CountIn(uint64_t begin, uint64_t end) const;
  // Smallest ordinal >= from that is absent, or `limit` where there is none below it.
  uint64_t NextAbsent(uint64_t from, uint64_t limit) const;
  // Smallest ordinal >= from that is present, or `limit` where there is none below it.
  uint64_t NextPresent(uint64_t from, uint64_t limit) const;

  // Its member number `index`, from 0. Precondition: index < size(). O(gaps).
  uint64_t At(uint64_t index) const;

  // begin -> end; disjoint, ascending, not touching.
  const absl::btree_map<uint64_t, uint64_t>& intervals() const { return intervals_; }
  friend bool operator==(const OrdinalSet& a, const OrdinalSet& b) { return a.intervals_ == b.intervals_; }

 private:
  absl::btree_map<uint64_t, uint64_t> intervals_;
  uint64_t size_ = 0;  // sum of the intervals' lengths
};

}  // namespace promptsweep::coordinator
