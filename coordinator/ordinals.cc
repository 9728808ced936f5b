#include "coordinator/ordinals.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace promptsweep::coordinator {

uint64_t OrdinalSet::Add(uint64_t begin, uint64_t end) {
  if (begin >= end) return 0;
  const uint64_t wanted_begin = begin;
  const uint64_t wanted_end = end;
  const uint64_t present = CountIn(begin, end);
  if (present == end - begin) return 0;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin() && std::prev(it)->second >= begin) --it;
  while (it != intervals_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = intervals_.erase(it);
  }
  intervals_.emplace(begin, end);
  const uint64_t added = wanted_end - wanted_begin - present;
  size_ += added;
  return added;
}

uint64_t OrdinalSet::Remove(uint64_t begin, uint64_t end) {
  if (begin >= end) return 0;
  uint64_t removed = 0;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin() && std::prev(it)->second > begin) --it;
  while (it != intervals_.end() && it->first < end) {
    const Range old{it->first, it->second};
    removed += std::min(old.end, end) - std::max(old.begin, begin);
    intervals_.erase(it);
    if (old.begin < begin) intervals_.emplace(old.begin, begin);
    if (old.end > end) intervals_.emplace(end, old.end);
    it = intervals_.lower_bound(std::min(old.end, end));
  }
  size_ -= removed;
  return removed;
}

void OrdinalSet::Clear() {
  intervals_.clear();
  size_ = 0;
}

bool OrdinalSet::Contains(uint64_t ordinal) const {
  auto it = intervals_.upper_bound(ordinal);
  return it != intervals_.begin() && std::prev(it)->second > ordinal;
}

uint64_t OrdinalSet::CountIn(uint64_t begin, uint64_t end) const {
  if (begin >= end) return 0;
  uint64_t count = 0;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin()) --it;
  for (; it != intervals_.end() && it->first < end; ++it) {
    const uint64_t low = std::max(begin, it->first);
    const uint64_t high = std::min(end, it->second);
    if (low < high) count += high - low;
  }
  return count;
}

uint64_t OrdinalSet::NextAbsent(uint64_t from, uint64_t limit) const {
  if (from >= limit) return limit;
  auto it = intervals_.upper_bound(from);
  if (it == intervals_.begin() || std::prev(it)->second <= from) return from;
  return std::min(std::prev(it)->second, limit);
}

uint64_t OrdinalSet::NextPresent(uint64_t from, uint64_t limit) const {
  if (from >= limit) return limit;
  auto it = intervals_.upper_bound(from);
  if (it != intervals_.begin() && std::prev(it)->second > from) return from;
  return it == intervals_.end() ? limit : std::min(it->first, limit);
}

uint64_t OrdinalSet::At(uint64_t index) const {
  for (const auto& [begin, end] : intervals_) {
    if (index < end - begin) return begin + index;
    index -= end - begin;
  }
  PS_CHECK(false) << "no such member";
  return 0;
}

}  // namespace promptsweep::coordinator
