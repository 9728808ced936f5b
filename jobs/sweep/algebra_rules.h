// What exclusion rules tell apart: which values they take, and which positions of an axis fall to which of them. Only algebra*.cc
// include this.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "jobs/sweep/algebra.h"

namespace promptsweep::sweep::internal {

// The values that satisfy a rule on one axis. Whole numbers are kept as intervals, so that a range costs nothing.
class AllowedValues {
 public:
  // What the condition allows. INVALID_ARGUMENT for a range that is empty, leaves 64 bits, or has gaps and more than
  // kMaxSteppedRange values. Its single values were checked.
  [[nodiscard]] static absl::StatusOr<AllowedValues> Of(const v1::Condition& condition);

  void Intersect(const AllowedValues& other);
  bool Contains(const v1::Value& value) const;
  // Whole numbers, both ends included; ascending, with gaps between.
  const std::vector<std::pair<int64_t, int64_t>>& whole() const { return whole_; }

 private:
  absl::flat_hash_set<std::string> others_;  // CanonicalValue of what is not a whole number
  std::vector<std::pair<int64_t, int64_t>> whole_;
};

// A rule as its conditions, by axis.
struct Rule {
  absl::flat_hash_map<std::string, AllowedValues> allowed;
};

// Rules of every enclosing Exclude; bit r of a RuleMask is rules[r].
struct RuleScope {
  std::vector<const Rule*> rules;
  RuleMask all() const { return rules.size() >= 64 ? ~RuleMask{0} : (RuleMask{1} << rules.size()) - 1; }
  // Rules with a condition on the axis.
  RuleMask On(const std::string& axis) const;
};

// Intervals of positions, the end left out; ascending, with gaps between.
struct PositionIntervals {
  std::vector<uint64_t> begins, ends;
  // Precondition: begin < end, and begin is not before the last end.
  void Append(uint64_t begin, uint64_t end);
};

// The positions of a node grouped by mask.
class PositionGroups {
 public:
  PositionGroups() = default;
  // Positions in none of the intervals have the mask `rest`. Precondition: `rest` is not listed, and no position is twice.
  PositionGroups(uint64_t count, RuleMask rest, std::map<RuleMask, PositionIntervals> listed);
  // Those of an axis of `count` values, by the rules that look at it.
  static PositionGroups OfAxis(const v1::Axis& axis, uint64_t count, const RuleScope& scope);

  RuleCounts Counts() const;
  RuleMask MaskAt(uint64_t position) const;
  uint64_t WeightBefore(uint64_t position, const RuleCounts& counts, const RuleWeights& weights) const;

 private:
  struct Group {
    RuleMask mask;
    PositionIntervals intervals;
    std::vector<uint64_t> before;  // positions in the intervals before each, and in all of them: one more than intervals
    uint64_t CountBefore(uint64_t position) const;
    bool Contains(uint64_t position) const;
  };
  RuleMask rest_ = 0;
  uint64_t rest_count_ = 0;
  std::vector<Group> groups_;
};

}  // namespace promptsweep::sweep::internal
