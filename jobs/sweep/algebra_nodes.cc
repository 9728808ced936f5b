#include "jobs/sweep/algebra_nodes.h"

#include <algorithm>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "jobs/sweep/fingerprint.h"

namespace promptsweep::sweep {

bool CellTree::HasAxis(const std::string& name) const { return std::binary_search(axes_.begin(), axes_.end(), name); }
bool CellTree::AlwaysHasAxis(const std::string& name) const { return std::binary_search(always_.begin(), always_.end(), name); }

namespace internal {
namespace {

// The smallest position whose weight up to and including it passes `target`.
template <typename WeightBefore>
CellTree::Selected SelectByRank(uint64_t count, uint64_t target, WeightBefore weight_before) {
  uint64_t low = 0, high = count - 1;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    if (weight_before(middle + 1) > target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return {low, target - weight_before(low)};
}

std::vector<std::string> Union(const std::vector<NodePtr>& nodes, const std::vector<std::string>& (CellTree::*names)() const) {
  std::vector<std::string> all;
  for (const NodePtr& node : nodes) all.insert(all.end(), ((*node).*names)().begin(), ((*node).*names)().end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// Index of the node that has the model axis; 0 where none has.
size_t ModelIndex(const std::vector<NodePtr>& nodes) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i]->HasAxis("model")) return i;
  }
  return 0;
}

absl::Status CheckDisjoint(const std::vector<NodePtr>& nodes, absl::string_view what) {
  std::map<std::string, int> seen;
  for (const NodePtr& node : nodes) {
    for (const std::string& axis : node->axes()) {
      if (++seen[axis] > 1) return absl::InvalidArgumentError(absl::StrCat("axis \"", axis, "\" appears twice in one ", what));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// ---- axis

AxisNode::AxisNode(const v1::Axis& axis, uint64_t count, const RuleScope& scope) : axis_(axis) {
  count_ = count;
  axes_ = always_ = {axis.name()};
  if (axis.name() == "model") {
    const auto& values = axis.list().values();
    for (int i = 1; i <= values.size(); ++i) {
      if (i == values.size() || values[i].string_value() != values[i - 1].string_value()) model_run_ends_.push_back(i);
    }
    one_model_ = model_run_ends_.size() == 1;
  }
  if (!scope.rules.empty()) {
    groups_ = PositionGroups::OfAxis(axis, count, scope);
    rule_counts_ = groups_.Counts();
  }
}

void AxisNode::Visit(uint64_t position, CellSink sink) const {
  if (axis_.has_list()) return sink(axis_.name(), axis_.list().values(static_cast<int>(position)));
  v1::Value value;
  value.set_int_value(RangeValue(axis_.range(), position));
  sink(axis_.name(), value);
}

const std::string& AxisNode::Model(uint64_t position) const {
  return axis_.list().values(static_cast<int>(position)).string_value();
}

uint64_t AxisNode::ModelRunEnd(uint64_t position) const {
  return *std::upper_bound(model_run_ends_.begin(), model_run_ends_.end(), position);
}

uint64_t AxisNode::WeightBefore(uint64_t position, const RuleWeights& weights) const {
  return groups_.WeightBefore(position, rule_counts_, weights);
}

CellTree::Selected AxisNode::Select(uint64_t target, const RuleWeights& weights) const {
  return SelectByRank(count_, target, [&](uint64_t p) { return WeightBefore(p, weights); });
}

// ---- product

absl::StatusOr<NodePtr> ProductNode::Make(std::vector<NodePtr> factors, const RuleScope& scope) {
  if (absl::Status disjoint = CheckDisjoint(factors, "product"); !disjoint.ok()) return disjoint;
  auto node = std::make_unique<ProductNode>();
  node->inner_.resize(factors.size());
  uint64_t count = 1;
  for (size_t k = factors.size(); k-- > 0;) {
    node->inner_[k] = count;
    if (__builtin_mul_overflow(count, factors[k]->count(), &count)) {
      return absl::InvalidArgumentError("a product has more than 2^64 - 1 cells");
    }
  }
  node->count_ = count;
  node->axes_ = Union(factors, &CellTree::axes);
  node->always_ = Union(factors, &CellTree::always);
  node->model_factor_ = ModelIndex(factors);
  node->one_model_ = factors[node->model_factor_]->one_model();
  if (!scope.rules.empty()) {
    node->suffix_.resize(factors.size() + 1);
    node->suffix_.back() = RuleCounts({{scope.all(), 1}});
    for (size_t k = factors.size(); k-- > 0;) {
      const RuleCounts &own = factors[k]->rule_counts(), &inner = node->suffix_[k + 1];
      if (own.size() * inner.size() > kMaxRuleCombinations) {
        return absl::InvalidArgumentError("exclusion rules tell too many combinations apart; use fewer or simpler rules");
      }
      absl::flat_hash_map<RuleMask, uint64_t> counts;
      for (size_t a = 0; a < own.size(); ++a) {
        for (size_t b = 0; b < inner.size(); ++b) counts[own.mask(a) & inner.mask(b)] += own.count(a) * inner.count(b);
      }
      node->suffix_[k] = RuleCounts({counts.begin(), counts.end()});
    }
    node->rule_counts_ = node->suffix_[0];
  }
  node->factors_ = std::move(factors);
  return node;
}

void ProductNode::Visit(uint64_t position, CellSink sink) const {
  for (size_t k = 0; k < factors_.size(); ++k) factors_[k]->Visit(Digit(k, position), sink);
}

const std::string& ProductNode::Model(uint64_t position) const {
  return factors_[model_factor_]->Model(Digit(model_factor_, position));
}

uint64_t ProductNode::ModelRunEnd(uint64_t position) const {
  if (one_model_) return count_;
  uint64_t digit = Digit(model_factor_, position), inner = inner_[model_factor_];
  uint64_t steps = factors_[model_factor_]->ModelRunEnd(digit) - digit;
  return (position / inner + steps) * inner;
}

size_t ProductNode::RuleId(uint64_t position) const {
  RuleMask mask = ~RuleMask{0};
  for (size_t k = 0; k < factors_.size(); ++k) mask &= factors_[k]->rule_counts().mask(factors_[k]->RuleId(Digit(k, position)));
  return rule_counts_.Find(mask);
}

RuleWeights ProductNode::FactorWeights(size_t factor, RuleMask mask, const RuleWeights& weights) const {
  const RuleCounts &own = factors_[factor]->rule_counts(), &inner = suffix_[factor + 1];
  RuleWeights sums(own.size(), 0);
  for (size_t a = 0; a < own.size(); ++a) {
    for (size_t b = 0; b < inner.size(); ++b) {
      sums[a] += inner.count(b) * weights[rule_counts_.Find(mask & own.mask(a) & inner.mask(b))];
    }
  }
  return sums;
}

uint64_t ProductNode::WeightBefore(uint64_t position, const RuleWeights& weights) const {
  uint64_t sum = 0;
  if (position == count_) {
    for (size_t id = 0; id < rule_counts_.size(); ++id) sum += rule_counts_.count(id) * weights[id];
    return sum;
  }
  RuleMask mask = ~RuleMask{0};
  for (size_t k = 0; k < factors_.size(); ++k) {
    uint64_t digit = Digit(k, position);
    sum += factors_[k]->WeightBefore(digit, FactorWeights(k, mask, weights));
    mask &= factors_[k]->rule_counts().mask(factors_[k]->RuleId(digit));
  }
  return sum;
}

CellTree::Selected ProductNode::Select(uint64_t target, const RuleWeights& weights) const {
  RuleMask mask = ~RuleMask{0};
  uint64_t position = 0;
  for (size_t k = 0; k < factors_.size(); ++k) {
    Selected selected = factors_[k]->Select(target, FactorWeights(k, mask, weights));
    mask &= factors_[k]->rule_counts().mask(factors_[k]->RuleId(selected.position));
    position += selected.position * inner_[k];
    target = selected.rest;
  }
  return {position, target};
}

// ---- chain

absl::StatusOr<NodePtr> ChainNode::Make(std::vector<NodePtr> parts, const RuleScope& scope) {
  auto node = std::make_unique<ChainNode>();
  node->start_ = {0};
  for (const NodePtr& part : parts) {
    uint64_t end;
    if (__builtin_add_overflow(node->start_.back(), part->count(), &end)) {
      return absl::InvalidArgumentError("a chain has more than 2^64 - 1 cells");
    }
    node->start_.push_back(end);
  }
  node->count_ = node->start_.back();
  node->axes_ = Union(parts, &CellTree::axes);
  std::copy_if(node->axes_.begin(), node->axes_.end(), std::back_inserter(node->always_), [&](const std::string& axis) {
    return std::all_of(parts.begin(), parts.end(), [&](const NodePtr& part) { return part->AlwaysHasAxis(axis); });
  });
  node->one_model_ = std::all_of(parts.begin(), parts.end(), [&](const NodePtr& part) {
    return part->AlwaysHasAxis("model") && part->one_model() && part->Model(0) == parts[0]->Model(0);
  });
  if (!scope.rules.empty()) {
    // A part without an axis that a rule looks at never matches it.
    std::vector<RuleMask> possible(parts.size(), scope.all());
    std::vector<std::pair<RuleMask, uint64_t>> counts;
    for (size_t p = 0; p < parts.size(); ++p) {
      for (const std::string& axis : node->axes_) {
        if (!parts[p]->HasAxis(axis)) possible[p] &= ~scope.On(axis);
      }
      const RuleCounts& own = parts[p]->rule_counts();
      for (size_t id = 0; id < own.size(); ++id) counts.emplace_back(own.mask(id) & possible[p], own.count(id));
    }
    node->rule_counts_ = RuleCounts(std::move(counts));
    node->before_.assign(node->rule_counts_.size(), std::vector<uint64_t>(parts.size() + 1, 0));
    for (size_t p = 0; p < parts.size(); ++p) {
      const RuleCounts& own = parts[p]->rule_counts();
      for (std::vector<uint64_t>& before : node->before_) before[p + 1] = before[p];
      std::vector<size_t>& ids = node->to_own_.emplace_back();
      for (size_t id = 0; id < own.size(); ++id) {
        ids.push_back(node->rule_counts_.Find(own.mask(id) & possible[p]));
        node->before_[ids.back()][p + 1] += own.count(id);
      }
    }
  }
  node->parts_ = std::move(parts);
  return node;
}

size_t ChainNode::PartOf(uint64_t position) const {
  return std::upper_bound(start_.begin(), start_.end(), position) - start_.begin() - 1;
}

void ChainNode::Visit(uint64_t position, CellSink sink) const {
  size_t part = PartOf(position);
  parts_[part]->Visit(position - start_[part], sink);
}

const std::string& ChainNode::Model(uint64_t position) const {
  size_t part = PartOf(position);
  return parts_[part]->Model(position - start_[part]);
}

uint64_t ChainNode::ModelRunEnd(uint64_t position) const {
  if (one_model_) return count_;
  size_t part = PartOf(position);
  return start_[part] + parts_[part]->ModelRunEnd(position - start_[part]);
}

size_t ChainNode::RuleId(uint64_t position) const {
  size_t part = PartOf(position);
  return to_own_[part][parts_[part]->RuleId(position - start_[part])];
}

RuleWeights ChainNode::PartWeights(size_t part, const RuleWeights& weights) const {
  RuleWeights own;
  for (size_t id : to_own_[part]) own.push_back(weights[id]);
  return own;
}

uint64_t ChainNode::WeightBeforePart(size_t part, const RuleWeights& weights) const {
  uint64_t sum = 0;
  for (size_t id = 0; id < weights.size(); ++id) sum += before_[id][part] * weights[id];
  return sum;
}

uint64_t ChainNode::WeightBefore(uint64_t position, const RuleWeights& weights) const {
  if (position == count_) return WeightBeforePart(parts_.size(), weights);
  size_t part = PartOf(position);
  return WeightBeforePart(part, weights) + parts_[part]->WeightBefore(position - start_[part], PartWeights(part, weights));
}

CellTree::Selected ChainNode::Select(uint64_t target, const RuleWeights& weights) const {
  Selected part = SelectByRank(parts_.size(), target, [&](uint64_t p) { return WeightBeforePart(p, weights); });
  Selected inside = parts_[part.position]->Select(part.rest, PartWeights(part.position, weights));
  return {start_[part.position] + inside.position, inside.rest};
}

// ---- zip

absl::StatusOr<NodePtr> ZipNode::Make(std::vector<NodePtr> parts, const RuleScope& scope) {
  if (absl::Status disjoint = CheckDisjoint(parts, "zip"); !disjoint.ok()) return disjoint;
  auto node = std::make_unique<ZipNode>();
  node->count_ = parts[0]->count();
  for (const NodePtr& part : parts) {
    if (part->count() != node->count_) {
      return absl::InvalidArgumentError(absl::StrCat("the parts of a zip differ in length: ", parts[0]->axes()[0], " has ",
                                                     node->count_, ", ", part->axes()[0], " has ", part->count()));
    }
  }
  node->axes_ = Union(parts, &CellTree::axes);
  node->always_ = Union(parts, &CellTree::always);
  node->model_part_ = ModelIndex(parts);
  node->one_model_ = parts[node->model_part_]->one_model();
  if (!scope.rules.empty()) {
    std::vector<const CellTree*> ruled;
    for (const NodePtr& part : parts) {
      RuleMask on = 0;
      for (const std::string& axis : part->axes()) on |= scope.On(axis);
      if (on != 0) ruled.push_back(part.get());
    }
    if (ruled.size() == 1) {
      node->ruled_ = ruled[0];
      node->rule_counts_ = ruled[0]->rule_counts();
    } else {
      std::map<RuleMask, PositionIntervals> listed;
      if (!ruled.empty() && node->count_ > kMaxZipScan) {
        return absl::InvalidArgumentError(absl::StrCat("exclusion rules look at several parts of a zip of ", node->count_,
                                                       " cells; at most ", kMaxZipScan, " allow that"));
      }
      for (uint64_t i = 0; !ruled.empty() && i < node->count_; ++i) {
        RuleMask mask = scope.all();
        for (const CellTree* part : ruled) mask &= part->rule_counts().mask(part->RuleId(i));
        if (mask != scope.all()) listed[mask].Append(i, i + 1);
      }
      node->groups_ = PositionGroups(node->count_, scope.all(), std::move(listed));
      node->rule_counts_ = node->groups_.Counts();
    }
  }
  node->parts_ = std::move(parts);
  return node;
}

void ZipNode::Visit(uint64_t position, CellSink sink) const {
  for (const NodePtr& part : parts_) part->Visit(position, sink);
}

size_t ZipNode::RuleId(uint64_t position) const {
  return ruled_ != nullptr ? ruled_->RuleId(position) : rule_counts_.Find(groups_.MaskAt(position));
}

uint64_t ZipNode::WeightBefore(uint64_t position, const RuleWeights& weights) const {
  return ruled_ != nullptr ? ruled_->WeightBefore(position, weights) : groups_.WeightBefore(position, rule_counts_, weights);
}

CellTree::Selected ZipNode::Select(uint64_t target, const RuleWeights& weights) const {
  if (ruled_ != nullptr) return ruled_->Select(target, weights);
  return SelectByRank(count_, target, [&](uint64_t p) { return WeightBefore(p, weights); });
}

// ---- exclude

absl::StatusOr<NodePtr> ExcludeNode::Make(NodePtr from, std::vector<std::unique_ptr<Rule>> rules, const RuleScope& scope) {
  auto node = std::make_unique<ExcludeNode>();
  const RuleCounts& counts = from->rule_counts();
  std::vector<std::pair<RuleMask, uint64_t>> own;
  for (size_t id = 0; id < counts.size(); ++id) {
    bool survives = (counts.mask(id) & ~scope.all()) == 0;
    node->survives_.push_back(survives ? 1 : 0);
    if (survives) {
      own.emplace_back(counts.mask(id), counts.count(id));
      node->count_ += counts.count(id);
    }
  }
  if (node->count_ == 0) return absl::InvalidArgumentError("exclusion leaves no cell");
  node->rule_counts_ = RuleCounts(std::move(own));
  for (size_t id = 0; id < counts.size(); ++id) {
    node->to_own_.push_back(node->survives_[id] ? node->rule_counts_.Find(counts.mask(id)) : kExcluded);
  }
  node->axes_ = from->axes();
  node->always_ = from->always();
  node->one_model_ = from->one_model();
  node->rules_ = std::move(rules);
  node->from_ = std::move(from);
  return node;
}

uint64_t ExcludeNode::ModelRunEnd(uint64_t position) const {
  if (one_model_) return count_;
  return from_->WeightBefore(from_->ModelRunEnd(Source(position)), survives_);
}

RuleWeights ExcludeNode::FromWeights(const RuleWeights& weights) const {
  RuleWeights from;
  for (size_t id : to_own_) from.push_back(id == kExcluded ? 0 : weights[id]);
  return from;
}

uint64_t ExcludeNode::WeightBefore(uint64_t position, const RuleWeights& weights) const {
  uint64_t end = position == count_ ? from_->count() : Source(position);
  return from_->WeightBefore(end, FromWeights(weights));
}

CellTree::Selected ExcludeNode::Select(uint64_t target, const RuleWeights& weights) const {
  Selected selected = from_->Select(target, FromWeights(weights));
  return {from_->WeightBefore(selected.position, survives_), selected.rest};
}

}  // namespace internal
}  // namespace promptsweep::sweep
