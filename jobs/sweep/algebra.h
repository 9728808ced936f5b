// The algebra of axes compiled into an immutable tree that computes any cell from its position. Nothing is expanded: memory is
// that of the spec, a lookup costs O(axes), plus a logarithm for chains and a few binary searches for exclusions.
//
// How exclusion works. Under an Exclude every node knows, for each combination of rules, how many of its cells still match
// exactly those ("still match": no condition met so far failed). Such counts multiply in a product (combinations intersect) and
// add in a chain, so the number of surviving cells before any position is a sum of a few products, and the i-th survivor is
// found by descending with that rank. See algebra_nodes.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

inline constexpr int kMaxDepth = 32;                       // nesting of nodes
inline constexpr int kMaxRules = 16;                       // of one Exclude
inline constexpr uint64_t kMaxZipScan = 1 << 18;           // longest zip whose rules stand on several of its parts
inline constexpr uint64_t kMaxSteppedRange = 100'000;      // values of a rule's ranges whose step is not 1
inline constexpr uint64_t kMaxRuleCombinations = 1 << 20;  // pairs of rule combinations a product may have to consider

// Bit r set: rule r of the enclosing exclusions still matches.
using RuleMask = uint64_t;

// How many cells of a node still match exactly which rules; sorted by mask, counts above 0.
class RuleCounts {
 public:
  RuleCounts() = default;
  explicit RuleCounts(std::vector<std::pair<RuleMask, uint64_t>> entries);  // merges equal masks
  size_t size() const { return entries_.size(); }
  RuleMask mask(size_t id) const { return entries_[id].first; }
  uint64_t count(size_t id) const { return entries_[id].second; }
  // Precondition: some cell has this mask.
  size_t Find(RuleMask mask) const;

 private:
  std::vector<std::pair<RuleMask, uint64_t>> entries_;
};

// What a cell with each mask is worth, by id in a node's RuleCounts.
using RuleWeights = std::vector<uint64_t>;

using CellSink = absl::FunctionRef<void(const std::string& axis, const v1::Value& value)>;

// A compiled node. Immutable, thread-safe. Positions are below count().
class CellTree {
 public:
  virtual ~CellTree() = default;

  // Checks names, values, counts and limits. The tree refers to `node`, which must outlive it unchanged.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<const CellTree>> Compile(const v1::CellNode& node);

  uint64_t count() const { return count_; }
  // Sorted names that some cell has, and that every cell has.
  const std::vector<std::string>& axes() const { return axes_; }
  const std::vector<std::string>& always() const { return always_; }
  bool HasAxis(const std::string& name) const;
  bool AlwaysHasAxis(const std::string& name) const;

  // Hands over each axis value of the cell at `position`.
  virtual void Visit(uint64_t position, CellSink sink) const = 0;
  // Model of a cell. Precondition for both: every cell has the model axis.
  virtual const std::string& Model(uint64_t position) const = 0;
  // A position above `position` up to which the model stays the same; not always the last such.
  virtual uint64_t ModelRunEnd(uint64_t position) const = 0;
  // True where all cells have one model.
  bool one_model() const { return one_model_; }

  // The rest serves exclusion and is valid only under one.
  const RuleCounts& rule_counts() const { return rule_counts_; }
  // Which entry of rule_counts() the cell belongs to.
  virtual size_t RuleId(uint64_t position) const = 0;
  // Sum of weights of the cells before `position` (which may be count()).
  virtual uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const = 0;
  // The cell in whose weight `target` falls, and how far into it. Precondition: target is below the total weight.
  struct Selected {
    uint64_t position;
    uint64_t rest;
  };
  virtual Selected Select(uint64_t target, const RuleWeights& weights) const = 0;

 protected:
  uint64_t count_ = 0;
  std::vector<std::string> axes_, always_;
  bool one_model_ = false;
  RuleCounts rule_counts_;
};

// The k-th value. Precondition: k < range.count(), and the range was checked to fit in 64 bits.
[[nodiscard]] inline int64_t RangeValue(const v1::IntRange& range, uint64_t k) {
  return static_cast<int64_t>(range.first() + static_cast<__int128>(range.step()) * k);
}

// INVALID_ARGUMENT for a range that is empty, stands still or leaves 64 bits, and for seeds below 0.
[[nodiscard]] absl::Status CheckRange(const std::string& axis, const v1::IntRange& range);

// Slow axes first: the order of factors inside a product, whatever order its author wrote them in, so that neighbours in a
// sweep share weights and text encodings. 0 model, 1 width, height, size, 2 steps, 3 other settings, 4 prompt, 5 seed.
[[nodiscard]] int AxisRank(const std::string& name);

// Sorts products by their slowest axis (ties by name), joins products that stand directly in products, sorts zip parts.
void PutInOrder(v1::CellNode& node);

// Every axis of the tree in order of appearance, leaves only.
void ForEachAxis(const v1::CellNode& node, absl::FunctionRef<void(const v1::Axis&)> visit);

}  // namespace promptsweep::sweep
