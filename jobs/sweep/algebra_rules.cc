#include "jobs/sweep/algebra_rules.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "jobs/sweep/fingerprint.h"

namespace promptsweep::sweep {

RuleCounts::RuleCounts(std::vector<std::pair<RuleMask, uint64_t>> entries) {
  std::sort(entries.begin(), entries.end());
  for (const auto& [mask, count] : entries) {
    if (count == 0) continue;
    if (!entries_.empty() && entries_.back().first == mask) {
      entries_.back().second += count;
    } else {
      entries_.emplace_back(mask, count);
    }
  }
}

size_t RuleCounts::Find(RuleMask mask) const {
  auto at = std::lower_bound(entries_.begin(), entries_.end(), mask, [](const auto& e, RuleMask m) { return e.first < m; });
  PS_CHECK(at != entries_.end() && at->first == mask) << "rule mask " << mask;
  return at - entries_.begin();
}

namespace internal {
namespace {

using Intervals = std::vector<std::pair<int64_t, int64_t>>;

// The whole number a value stands for: 2 and 2.0 are one (see CanonicalValue).
std::optional<int64_t> WholeNumber(const v1::Value& value, const std::string& canonical) {
  if (canonical.empty() || canonical[0] != 'i') return std::nullopt;
  return value.has_double_value() ? static_cast<int64_t>(value.double_value()) : value.int_value();
}

bool Covers(const Intervals& intervals, int64_t number) {
  auto after = std::upper_bound(intervals.begin(), intervals.end(), number, [](int64_t n, const auto& i) { return n < i.first; });
  return after != intervals.begin() && number <= std::prev(after)->second;
}

void SortAndMerge(Intervals& intervals) {
  std::sort(intervals.begin(), intervals.end());
  Intervals merged;
  for (const auto& [first, last] : intervals) {
    // 128 bits: one past the largest number.
    if (!merged.empty() && first <= static_cast<__int128>(merged.back().second) + 1) {
      merged.back().second = std::max(merged.back().second, last);
    } else {
      merged.emplace_back(first, last);
    }
  }
  intervals = std::move(merged);
}

// Bits of the rules whose condition on the axis changes at a position; the same position may stand there several times.
using Toggles = std::vector<std::pair<uint64_t, RuleMask>>;

void AddToggles(const v1::IntRange& range, uint64_t count, const AllowedValues& allowed, RuleMask rule, Toggles& toggles) {
  const __int128 first = range.first(), step = range.step(), size = step < 0 ? -step : step;
  for (const auto& [low, high] : allowed.whole()) {
    // Steps from `first` to the near and to the far end of the interval, rounded into it.
    const __int128 near = step > 0 ? low - first : first - high, far = step > 0 ? high - first : first - low;
    if (far < 0) continue;
    const __int128 begin = near <= 0 ? 0 : (near + size - 1) / size;
    const __int128 end = std::min<__int128>(far / size, static_cast<__int128>(count) - 1) + 1;
    if (begin >= end) continue;
    toggles.emplace_back(static_cast<uint64_t>(begin), rule);
    toggles.emplace_back(static_cast<uint64_t>(end), rule);
  }
}

}  // namespace

absl::StatusOr<AllowedValues> AllowedValues::Of(const v1::Condition& condition) {
  AllowedValues allowed;
  for (const v1::Value& value : condition.any_of().values()) {
    std::string canonical = CanonicalValue(value);
    if (auto number = WholeNumber(value, canonical)) {
      allowed.whole_.emplace_back(*number, *number);
    } else {
      allowed.others_.insert(std::move(canonical));
    }
  }
  uint64_t stepped = 0;
  for (const v1::IntRange& range : condition.ranges()) {
    PS_RETURN_IF_ERROR(CheckRange(condition.axis(), range));
    const int64_t last = RangeValue(range, range.count() - 1);
    if (range.step() == 1 || range.step() == -1) {
      allowed.whole_.push_back(std::minmax(range.first(), last));
      continue;
    }
    if (range.count() > kMaxSteppedRange || (stepped += range.count()) > kMaxSteppedRange) {
      return absl::InvalidArgumentError(
          absl::StrCat("ranges of more than ", kMaxSteppedRange, " values with a step in a rule on \"", condition.axis(), "\""));
    }
    for (uint64_t k = 0; k < range.count(); ++k) allowed.whole_.emplace_back(RangeValue(range, k), RangeValue(range, k));
  }
  SortAndMerge(allowed.whole_);
  return allowed;
}

void AllowedValues::Intersect(const AllowedValues& other) {
  absl::erase_if(others_, [&](const std::string& value) { return !other.others_.contains(value); });
  Intervals both;
  for (size_t a = 0, b = 0; a < whole_.size() && b < other.whole_.size();) {
    const int64_t first = std::max(whole_[a].first, other.whole_[b].first);
    const int64_t last = std::min(whole_[a].second, other.whole_[b].second);
    if (first <= last) both.emplace_back(first, last);
    ++(whole_[a].second < other.whole_[b].second ? a : b);
  }
  whole_ = std::move(both);
}

bool AllowedValues::Contains(const v1::Value& value) const {
  const std::string canonical = CanonicalValue(value);
  if (auto number = WholeNumber(value, canonical)) return Covers(whole_, *number);
  return others_.contains(canonical);
}

RuleMask RuleScope::On(const std::string& axis) const {
  RuleMask mask = 0;
  for (size_t r = 0; r < rules.size(); ++r) {
    if (rules[r]->allowed.contains(axis)) mask |= RuleMask{1} << r;
  }
  return mask;
}

void PositionIntervals::Append(uint64_t begin, uint64_t end) {
  if (!ends.empty() && ends.back() == begin) {
    ends.back() = end;
  } else {
    begins.push_back(begin);
    ends.push_back(end);
  }
}

PositionGroups::PositionGroups(uint64_t count, RuleMask rest, std::map<RuleMask, PositionIntervals> listed)
    : rest_(rest), rest_count_(count) {
  for (auto& [mask, intervals] : listed) {
    Group& group = groups_.emplace_back(Group{mask, std::move(intervals), {0}});
    for (size_t i = 0; i < group.intervals.begins.size(); ++i) {
      group.before.push_back(group.before.back() + group.intervals.ends[i] - group.intervals.begins[i]);
    }
    rest_count_ -= group.before.back();
  }
}

PositionGroups PositionGroups::OfAxis(const v1::Axis& axis, uint64_t count, const RuleScope& scope) {
  const RuleMask unmatched = scope.all() & ~scope.On(axis.name());
  std::vector<std::pair<RuleMask, const AllowedValues*>> conditions;
  for (size_t r = 0; r < scope.rules.size(); ++r) {
    auto found = scope.rules[r]->allowed.find(axis.name());
    if (found != scope.rules[r]->allowed.end()) conditions.emplace_back(RuleMask{1} << r, &found->second);
  }
  std::map<RuleMask, PositionIntervals> listed;
  if (axis.has_list()) {
    for (uint64_t i = 0; !conditions.empty() && i < count; ++i) {
      RuleMask matched = 0;
      for (const auto& [rule, allowed] : conditions) {
        if (allowed->Contains(axis.list().values(static_cast<int>(i)))) matched |= rule;
      }
      if (matched != 0) listed[unmatched | matched].Append(i, i + 1);
    }
  } else {
    Toggles toggles;
    for (const auto& [rule, allowed] : conditions) AddToggles(axis.range(), count, *allowed, rule, toggles);
    std::sort(toggles.begin(), toggles.end());
    RuleMask matched = 0;
    uint64_t begin = 0;
    for (const auto& [position, rules] : toggles) {
      if (matched != 0 && position > begin) listed[unmatched | matched].Append(begin, position);
      begin = position;
      matched ^= rules;
    }
  }
  return PositionGroups(count, unmatched, std::move(listed));
}

RuleCounts PositionGroups::Counts() const {
  std::vector<std::pair<RuleMask, uint64_t>> counts = {{rest_, rest_count_}};
  for (const Group& group : groups_) counts.emplace_back(group.mask, group.before.back());
  return RuleCounts(std::move(counts));
}

bool PositionGroups::Group::Contains(uint64_t position) const {
  auto after = std::upper_bound(intervals.begins.begin(), intervals.begins.end(), position);
  return after != intervals.begins.begin() && position < intervals.ends[after - intervals.begins.begin() - 1];
}

uint64_t PositionGroups::Group::CountBefore(uint64_t position) const {
  const size_t after = std::lower_bound(intervals.begins.begin(), intervals.begins.end(), position) - intervals.begins.begin();
  if (after == 0) return 0;
  return before[after - 1] + std::min(position, intervals.ends[after - 1]) - intervals.begins[after - 1];
}

RuleMask PositionGroups::MaskAt(uint64_t position) const {
  for (const Group& group : groups_) {
    if (group.Contains(position)) return group.mask;
  }
  return rest_;
}

uint64_t PositionGroups::WeightBefore(uint64_t position, const RuleCounts& counts, const RuleWeights& weights) const {
  uint64_t sum = 0, rest = position;
  for (const Group& group : groups_) {
    const uint64_t before = group.CountBefore(position);
    sum += before * weights[counts.Find(group.mask)];
    rest -= before;
  }
  return rest == 0 ? sum : sum + rest * weights[counts.Find(rest_)];
}

}  // namespace internal
}  // namespace promptsweep::sweep
