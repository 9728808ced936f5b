#include "jobs/sweep/algebra_difference.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/algebra_cover.h"
#include "jobs/sweep/algebra_pieces.h"

namespace promptsweep::sweep {
namespace internal {
namespace {

// Cells that are missing below some values; null where none is.
struct Rest {
  v1::CellNode node;  // not set: one cell of no axes
  uint64_t count;
};

// Positions with the same rest.
struct Run {
  const Rest* rest;
  Pieces pieces;
};

// Runs in order of positions, or gathered where there are many.
class Runs {
 public:
  void Append(uint64_t begin, uint64_t end, const Rest* rest) {
    if (rest == nullptr) return;
    if (runs_.empty() || runs_.back().rest != rest) runs_.push_back({rest, {}});
    Pieces& pieces = runs_.back().pieces;
    if (!pieces.empty() && pieces.back().second == begin) {
      pieces.back().second = end;
    } else {
      pieces.emplace_back(begin, end);
    }
  }
  std::vector<Run> Take() {
    if (runs_.size() <= kMaxRuns) return std::move(runs_);
    std::vector<Run> gathered;
    absl::flat_hash_map<const Rest*, size_t> seen;
    for (Run& run : runs_) {
      auto [at, fresh] = seen.emplace(run.rest, gathered.size());
      if (fresh) gathered.push_back({run.rest, {}});
      Pieces& pieces = gathered[at->second].pieces;
      pieces.insert(pieces.end(), run.pieces.begin(), run.pieces.end());
    }
    return gathered;
  }

 private:
  std::vector<Run> runs_;
};

class Differ {
 public:
  Differ(const v1::CellNode& grown, const v1::CellNode& before, const google::protobuf::RepeatedPtrField<v1::Setting>& defaults)
      : grown_(grown), before_(before), zipped_(ZippedAxes({&grown, &before})), boxes_(defaults) {}

  absl::StatusOr<std::optional<v1::CellNode>> Result() {
    PS_ASSIGN_OR_RETURN(std::vector<Box> boxes, BoxesOf({&before_}, zipped_));
    PS_ASSIGN_OR_RETURN(const Rest* rest, Missing({&grown_}, 0, boxes_.Add(std::move(boxes))));
    return rest == nullptr ? std::nullopt : std::optional(rest->node);
  }

 private:
  using Pending = std::vector<const v1::CellNode*>;  // factors still to follow, outermost first

  // What is missing of the product of `pending` under values of the axes in `seen` that left the boxes in `states`.
  absl::StatusOr<const Rest*> Missing(const Pending& pending, uint64_t seen, const States& states) {
    auto key = std::tuple(pending, seen, states);
    if (auto known = known_.find(key); known != known_.end()) return known->second;
    PS_RETURN_IF_ERROR(Work(1 + states.size()));
    PS_ASSIGN_OR_RETURN(const Rest* rest, Find(pending, seen, states));
    if (rest != nullptr && !pending.empty()) {
      PS_ASSIGN_OR_RETURN(const bool all, IsAll(pending, rest->count));
      if (all) rest = Keep({ProductOf(pending), rest->count});
    }
    known_.emplace(std::move(key), rest);
    return rest;
  }

  absl::StatusOr<const Rest*> Find(const Pending& pending, uint64_t seen, const States& states) {
    if (pending.empty()) {
      PS_ASSIGN_OR_RETURN(const bool had, boxes_.Have(states, seen));
      return had ? nullptr : Keep({v1::CellNode(), 1});
    }
    const v1::CellNode& head = *pending[0];
    const Pending tail(pending.begin() + 1, pending.end());
    switch (head.node_case()) {
      case v1::CellNode::kAxis:
        return head.axis().has_range() ? OfRange(head.axis(), tail, seen, states) : OfList(head.axis(), tail, seen, states);
      case v1::CellNode::kProduct: {
        Pending factors;
        for (const v1::CellNode& factor : head.product().factors()) factors.push_back(&factor);
        factors.insert(factors.end(), tail.begin(), tail.end());
        return Missing(factors, seen, states);
      }
      case v1::CellNode::kZip:
        return OfZip(head, tail, seen, states);
      case v1::CellNode::kChain:
        return OfChain(head.chain(), tail, seen, states);
      case v1::CellNode::kExclude: {
        // What a rule matches is not asked; to leave it out, it counts as had.
        Pending factors = {&head.exclude().from()};
        factors.insert(factors.end(), tail.begin(), tail.end());
        auto known = rule_states_.find(&head);
        if (known == rule_states_.end()) {
          PS_ASSIGN_OR_RETURN(std::vector<Box> boxes, BoxesOfRules(head.exclude()));
          known = rule_states_.emplace(&head, boxes_.Add(std::move(boxes))).first;
        }
        return Missing(factors, seen, Together(states, known->second));
      }
      case v1::CellNode::NODE_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("a node of cells is empty");
  }

  absl::StatusOr<const Rest*> OfList(const v1::Axis& axis, const Pending& tail, uint64_t seen, const States& states) {
    PS_RETURN_IF_ERROR(boxes_.See(axis.name(), seen));
    Runs runs;
    absl::flat_hash_set<std::string> had;
    States previous;
    const Rest* rest = nullptr;
    for (int i = 0; i < axis.list().values_size(); ++i) {
      Row row = {{axis.name(), Point(axis.list().values(i))}};
      if (!had.insert(row.begin()->second.canonical).second) continue;
      PS_ASSIGN_OR_RETURN(States next, Narrowed(states, row));
      if (i == 0 || next != previous) {
        PS_ASSIGN_OR_RETURN(rest, Missing(tail, seen, next));
      }
      previous = std::move(next);
      runs.Append(i, i + 1, rest);
    }
    return Join(runs.Take(), [&](const Pieces& pieces) { return PiecesOfAxis(axis, pieces); });
  }

  absl::StatusOr<const Rest*> OfRange(const v1::Axis& axis, const Pending& tail, uint64_t seen, const States& states) {
    PS_RETURN_IF_ERROR(boxes_.See(axis.name(), seen));
    PS_ASSIGN_OR_RETURN(const std::vector<uint64_t> breaks, boxes_.Breaks(states, axis));
    Runs runs;
    for (size_t i = 0; i < breaks.size(); ++i) {
      v1::Value value;
      value.set_int_value(RangeValue(axis.range(), breaks[i]));
      PS_ASSIGN_OR_RETURN(States next, Narrowed(states, {{axis.name(), Point(std::move(value))}}));
      PS_ASSIGN_OR_RETURN(const Rest* rest, Missing(tail, seen, next));
      runs.Append(breaks[i], i + 1 < breaks.size() ? breaks[i + 1] : axis.range().count(), rest);
    }
    return Join(runs.Take(), [&](const Pieces& pieces) { return PiecesOfAxis(axis, pieces); });
  }

  absl::StatusOr<const Rest*> OfZip(const v1::CellNode& zip, const Pending& tail, uint64_t seen, const States& states) {
    PS_ASSIGN_OR_RETURN(const std::unique_ptr<const CellTree> tree, CellTree::Compile(zip));
    if (tree->axes() != tree->always()) return NoShortForm("a zip has rows of different axes");
    for (const std::string& axis : tree->axes()) PS_RETURN_IF_ERROR(boxes_.See(axis, seen));
    Runs runs;
    if (tree->count() > kMaxZipScan) {
      PS_ASSIGN_OR_RETURN(const States next, boxes_.NarrowedByLongZip(states, zip, *tree));
      PS_ASSIGN_OR_RETURN(const Rest* rest, Missing(tail, seen, next));
      runs.Append(0, tree->count(), rest);
    } else {
      absl::flat_hash_set<std::string> had;
      for (uint64_t i = 0; i < tree->count(); ++i) {
        Row row;
        tree->Visit(i, [&](const std::string& axis, const v1::Value& value) { row.emplace(axis, Point(value)); });
        if (!had.insert(RowKey(row)).second) continue;
        PS_ASSIGN_OR_RETURN(const States next, Narrowed(states, row));
        PS_ASSIGN_OR_RETURN(const Rest* rest, Missing(tail, seen, next));
        runs.Append(i, i + 1, rest);
      }
    }
    return Join(runs.Take(), [&](const Pieces& pieces) { return PiecesOfZip(zip, *tree, pieces); });
  }

  absl::StatusOr<const Rest*> OfChain(const v1::Chain& chain, const Pending& tail, uint64_t seen, States states) {
    std::vector<v1::CellNode> nodes;
    uint64_t count = 0;
    const States rules = boxes_.RulesOf(states);
    for (const v1::CellNode& part : chain.parts()) {
      Pending pending = {&part};
      pending.insert(pending.end(), tail.begin(), tail.end());
      PS_ASSIGN_OR_RETURN(const Rest* rest, Missing(pending, seen, states));
      if (rest == nullptr) continue;
      PS_RETURN_IF_ERROR(Add(rest->count, count));
      nodes.push_back(rest->node);
      if (&part == &*chain.parts().rbegin()) continue;
      // Later parts ask nothing again.
      auto key = std::pair(pending, rules);
      auto known = part_states_.find(key);
      if (known == part_states_.end()) {
        PS_ASSIGN_OR_RETURN(std::vector<Box> boxes, BoxesOf(pending, zipped_));
        PS_RETURN_IF_ERROR(boxes_.PutUnder(rules, seen, boxes));
        known = part_states_.emplace(std::move(key), boxes_.Add(std::move(boxes))).first;
      }
      states = Together(states, known->second);
    }
    return Chained(std::move(nodes), count);
  }

  // A chain of each run's positions with its rest.
  template <typename PiecesOf>
  absl::StatusOr<const Rest*> Join(std::vector<Run> runs, PiecesOf pieces_of) {
    std::vector<v1::CellNode> nodes;
    uint64_t count = 0;
    for (const Run& run : runs) {
      PS_ASSIGN_OR_RETURN(v1::CellNode head, pieces_of(run.pieces));
      uint64_t cells;
      if (__builtin_mul_overflow(LengthOf(run.pieces), run.rest->count, &cells)) return TooMany();
      PS_RETURN_IF_ERROR(Add(cells, count));
      if (run.rest->node.node_case() != v1::CellNode::NODE_NOT_SET) head = ProductOf({&head, &run.rest->node});
      nodes.push_back(std::move(head));
    }
    return Chained(std::move(nodes), count);
  }

  const Rest* Chained(std::vector<v1::CellNode> nodes, uint64_t count) {
    if (nodes.empty()) return nullptr;
    if (nodes.size() == 1) return Keep({std::move(nodes[0]), count});
    v1::CellNode chain;
    for (v1::CellNode& node : nodes) {
      if (node.has_chain()) {
        for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) *chain.mutable_chain()->add_parts() = std::move(part);
      } else {
        *chain.mutable_chain()->add_parts() = std::move(node);
      }
    }
    return Keep({std::move(chain), count});
  }

  // One object for equal rests.
  const Rest* Keep(Rest rest) {
    std::unique_ptr<const Rest>& kept = rests_[rest.node.SerializeAsString()];
    if (kept == nullptr) kept = std::make_unique<const Rest>(std::move(rest));
    return kept.get();
  }

  absl::StatusOr<bool> IsAll(const Pending& pending, uint64_t count) {
    unsigned __int128 all = 1;
    for (const v1::CellNode* node : pending) {
      uint64_t& own = counts_[node];
      if (own == 0) {
        PS_ASSIGN_OR_RETURN(const std::unique_ptr<const CellTree> tree, CellTree::Compile(*node));
        own = tree->count();
      }
      all *= own;
      if (all > count) return false;
    }
    return all == count;
  }

  // The states that a row of values leaves.
  absl::StatusOr<States> Narrowed(const States& states, const Row& row) {
    PS_RETURN_IF_ERROR(Work(1 + states.size()));
    return boxes_.Narrowed(states, row);
  }

  absl::Status Work(uint64_t steps) {
    work_ += steps;
    return work_ > kMaxDifferenceWork ? NoShortForm("the cells are too many lists and parts to compare") : absl::OkStatus();
  }
  static absl::Status TooMany() { return absl::InvalidArgumentError("the new cells are more than 2^64 - 1"); }
  static absl::Status Add(uint64_t cells, uint64_t& count) {
    return __builtin_add_overflow(count, cells, &count) ? TooMany() : absl::OkStatus();
  }
  static States Together(const States& a, const States& b) {
    States both;
    std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
    return both;
  }

  const v1::CellNode &grown_, &before_;
  const std::vector<AxisNames> zipped_;
  BoxTable boxes_;
  std::map<std::tuple<Pending, uint64_t, States>, const Rest*> known_;
  std::map<std::pair<Pending, States>, States> part_states_;  // boxes of a part with its tail, under rules
  std::map<const v1::CellNode*, States> rule_states_;         // boxes of an exclusion's rules
  std::map<const v1::CellNode*, uint64_t> counts_;
  absl::flat_hash_map<std::string, std::unique_ptr<const Rest>> rests_;
  uint64_t work_ = 0;
};

}  // namespace
}  // namespace internal

absl::StatusOr<std::optional<v1::CellNode>> CellsBeyond(const v1::CellNode& grown, const v1::CellNode& before,
                                                        const google::protobuf::RepeatedPtrField<v1::Setting>& defaults) {
  return internal::Differ(grown, before, defaults).Result();
}

}  // namespace promptsweep::sweep
