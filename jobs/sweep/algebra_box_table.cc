#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra_cover.h"

namespace promptsweep::sweep::internal {
namespace {

void SortUnique(std::vector<uint64_t>& numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
}

}  // namespace

BoxTable::BoxTable(const google::protobuf::RepeatedPtrField<v1::Setting>& defaults) {
  for (const v1::Setting& setting : defaults) defaults_.emplace(setting.name(), Point(setting.value()));
}

States BoxTable::Add(std::vector<Box> boxes) {
  States states;
  for (Box& box : boxes) {
    const size_t rules = box.rules.size();
    states.push_back({static_cast<int>(boxes_.size()), rules == 64 ? ~RuleMask{0} : (RuleMask{1} << rules) - 1});
    boxes_.push_back(std::move(box));
  }
  return states;
}

absl::StatusOr<States> BoxTable::Narrowed(const States& states, const Row& row) const {
  States next;
  for (State state : states) {
    PS_ASSIGN_OR_RETURN(const bool stays, Narrow(row, state));
    if (stays) next.push_back(state);
  }
  return next;
}

absl::StatusOr<bool> BoxTable::Narrow(const Row& row, State& state) const {
  const Box& box = boxes_[state.box];
  for (const auto& [axis, point] : row) {
    if (auto set = box.sets.find(axis); set != box.sets.end()) {
      if (!set->second->Contains(point)) return false;
    } else if (!box.is_rule && !box.axes.contains(axis)) {
      auto known = defaults_.find(axis);
      if (known == defaults_.end() || known->second.canonical != point.canonical) return false;
    }
  }
  for (const std::shared_ptr<const RowSet>& zip : box.zips) {
    Row own;
    for (const std::string& axis : zip->axes) {
      if (auto at = row.find(axis); at != row.end()) own.insert(*at);
    }
    if (own.empty()) continue;
    if (own.size() < zip->axes.size() || !zip->scanned) return NoShortForm("a long zip changes its form");
    if (!zip->rows.contains(RowKey(own))) return false;
  }
  for (size_t r = 0; r < box.rules.size(); ++r) {
    for (const auto& [axis, point] : row) {
      auto condition = box.rules[r]->allowed.find(axis);
      if (condition != box.rules[r]->allowed.end() && !condition->second.Contains(point.value)) state.mask &= ~(RuleMask{1} << r);
    }
  }
  return !box.is_rule || state.mask != 0;
}

absl::StatusOr<States> BoxTable::NarrowedByLongZip(const States& states, const v1::CellNode& zip, const CellTree& tree) const {
  const std::string bytes = zip.SerializeAsString();
  auto any_axis = [&](auto holds) { return std::any_of(tree.axes().begin(), tree.axes().end(), holds); };
  States next;
  for (const State& state : states) {
    const Box& box = boxes_[state.box];
    const bool same = std::any_of(box.zips.begin(), box.zips.end(), [&](const auto& rows) { return rows->bytes == bytes; });
    const bool apart = !any_axis([&](const std::string& axis) { return box.axes.contains(axis); });
    const bool ruled = std::any_of(box.rules.begin(), box.rules.end(), [&](const auto& rule) {
      return any_axis([&](const std::string& axis) { return rule->allowed.contains(axis); });
    });
    const bool never = apart && !box.is_rule && std::any_of(tree.always().begin(), tree.always().end(), [&](const auto& axis) {
                         return !defaults_.contains(axis);
                       });
    if (never) continue;
    if (!(same && !ruled) && !(apart && box.is_rule))
      return NoShortForm(absl::StrCat("a zip of ", tree.count(), " cells is too long to compare"));
    next.push_back(state);
  }
  return next;
}

absl::StatusOr<std::vector<uint64_t>> BoxTable::Breaks(const States& states, const v1::Axis& axis) const {
  std::vector<uint64_t> breaks = {0};
  for (const State& state : states) {
    const Box& box = boxes_[state.box];
    if (auto set = box.sets.find(axis.name()); set != box.sets.end()) {
      PS_RETURN_IF_ERROR(set->second->AddBreaks(axis.range(), breaks));
    } else if (auto known = defaults_.find(axis.name()); known != defaults_.end() && !box.is_rule && known->second.whole) {
      AddInterval(axis.range(), *known->second.whole, *known->second.whole, breaks);
    }
    for (const std::shared_ptr<const Rule>& rule : box.rules) {
      auto condition = rule->allowed.find(axis.name());
      if (condition == rule->allowed.end()) continue;
      for (const auto& [low, high] : condition->second.whole()) AddInterval(axis.range(), low, high, breaks);
    }
    if (breaks.size() > 2 * kMaxBreaks) {
      SortUnique(breaks);
      if (breaks.size() > kMaxBreaks) return NoShortForm(absl::StrCat("the range of \"", axis.name(), "\" has too many pieces"));
    }
  }
  SortUnique(breaks);
  return breaks;
}

absl::StatusOr<bool> BoxTable::Have(const States& states, uint64_t seen) const {
  for (State state : states) {
    const Box& box = boxes_[state.box];
    Row unsaid;
    bool may = true;
    for (const std::string& axis : box.axes) {
      if (Saw(axis, seen)) continue;
      auto known = defaults_.find(axis);
      may = may && !box.is_rule && known != defaults_.end();
      if (may) unsaid.insert(*known);
    }
    if (!may) continue;
    if (box.is_rule) return true;
    PS_ASSIGN_OR_RETURN(const bool stays, Narrow(unsaid, state));
    if (stays && state.mask == 0) return true;
  }
  return false;
}

bool BoxTable::Saw(const std::string& axis, uint64_t seen) const {
  auto known = axis_ids_.find(axis);
  return known != axis_ids_.end() && (seen >> known->second & 1) != 0;
}

absl::Status BoxTable::See(const std::string& axis, uint64_t& seen) {
  const size_t id = axis_ids_.emplace(axis, axis_ids_.size()).first->second;
  if (id >= kMaxAxes) return NoShortForm(absl::StrCat("the cells have more than ", kMaxAxes, " axes"));
  seen |= uint64_t{1} << id;
  return absl::OkStatus();
}

States BoxTable::RulesOf(const States& states) const {
  States rules;
  for (const State& state : states) {
    if (boxes_[state.box].is_rule) rules.push_back(state);
  }
  return rules;
}

absl::Status BoxTable::PutUnder(const States& rules, uint64_t seen, std::vector<Box>& boxes) const {
  for (const State& state : rules) {
    const Box& rule = boxes_[state.box];
    for (Box& box : boxes) {
      const bool applies = std::all_of(rule.axes.begin(), rule.axes.end(),
                                       [&](const std::string& axis) { return Saw(axis, seen) || box.axes.contains(axis); });
      if (applies) box.rules.push_back(rule.rules[0]);
      if (box.rules.size() > 64) return NoShortForm("the cells stand under more than 64 exclusion rules");
    }
  }
  return absl::OkStatus();
}

}  // namespace promptsweep::sweep::internal
