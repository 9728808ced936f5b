// Ordinals of a lease, and ordinals as ranges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "promptsweep/v1/coordinator.pb.h"

namespace promptsweep::worker {

// Cells a lease asks for: its range less what is to be skipped.
inline uint64_t CellsOf(const v1::Lease& lease) {
  uint64_t skipped = 0;
  uint64_t last = 0;
  for (const uint64_t ordinal : lease.skip()) {
    if (ordinal < lease.range().begin() || ordinal >= lease.range().end() || (skipped > 0 && ordinal <= last)) continue;
    ++skipped;
    last = ordinal;
  }
  return lease.range().end() - lease.range().begin() - skipped;
}

// Sorts `ordinals` and appends them as ascending, disjoint, non-touching ranges.
inline void AddRanges(std::vector<uint64_t>& ordinals, google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges) {
  std::sort(ordinals.begin(), ordinals.end());
  for (const uint64_t ordinal : ordinals) {
    if (!ranges.empty() && ordinal < ranges.rbegin()->end()) continue;
    if (ranges.empty() || ranges.rbegin()->end() != ordinal) {
      v1::OrdinalRange& range = *ranges.Add();
      range.set_begin(ordinal);
    }
    ranges.rbegin()->set_end(ordinal + 1);
  }
}

}  // namespace promptsweep::worker
