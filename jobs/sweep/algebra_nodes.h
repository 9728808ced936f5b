// The kinds of compiled nodes; only algebra*.cc include this.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jobs/sweep/algebra.h"
#include "jobs/sweep/algebra_rules.h"

namespace promptsweep::sweep::internal {

using NodePtr = std::unique_ptr<const CellTree>;

class AxisNode final : public CellTree {
 public:
  AxisNode(const v1::Axis& axis, uint64_t count, const RuleScope& scope);
  void Visit(uint64_t position, CellSink sink) const override;
  const std::string& Model(uint64_t position) const override;
  uint64_t ModelRunEnd(uint64_t position) const override;
  size_t RuleId(uint64_t position) const override { return rule_counts_.Find(groups_.MaskAt(position)); }
  uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const override;
  Selected Select(uint64_t target, const RuleWeights& weights) const override;

 private:
  const v1::Axis& axis_;
  std::vector<uint64_t> model_run_ends_;  // ascending; model axis only
  PositionGroups groups_;
};

class ProductNode final : public CellTree {
 public:
  [[nodiscard]] static absl::StatusOr<NodePtr> Make(std::vector<NodePtr> factors, const RuleScope& scope);
  void Visit(uint64_t position, CellSink sink) const override;
  const std::string& Model(uint64_t position) const override;
  uint64_t ModelRunEnd(uint64_t position) const override;
  size_t RuleId(uint64_t position) const override;
  uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const override;
  Selected Select(uint64_t target, const RuleWeights& weights) const override;

 private:
  uint64_t Digit(size_t factor, uint64_t position) const { return position / inner_[factor] % factors_[factor]->count(); }
  // What each cell of `factor` is worth when the factors before it left `mask`, summed over the factors after it.
  RuleWeights FactorWeights(size_t factor, RuleMask mask, const RuleWeights& weights) const;

  std::vector<NodePtr> factors_;
  std::vector<uint64_t> inner_;     // cells per step of factor k
  std::vector<RuleCounts> suffix_;  // of factors k.. together; one more than factors
  size_t model_factor_ = 0;
};

class ChainNode final : public CellTree {
 public:
  [[nodiscard]] static absl::StatusOr<NodePtr> Make(std::vector<NodePtr> parts, const RuleScope& scope);
  void Visit(uint64_t position, CellSink sink) const override;
  const std::string& Model(uint64_t position) const override;
  uint64_t ModelRunEnd(uint64_t position) const override;
  size_t RuleId(uint64_t position) const override;
  uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const override;
  Selected Select(uint64_t target, const RuleWeights& weights) const override;

 private:
  size_t PartOf(uint64_t position) const;
  RuleWeights PartWeights(size_t part, const RuleWeights& weights) const;
  uint64_t WeightBeforePart(size_t part, const RuleWeights& weights) const;

  std::vector<NodePtr> parts_;
  std::vector<uint64_t> start_;                // one more than parts
  std::vector<std::vector<size_t>> to_own_;    // [part][id in part] -> id here
  std::vector<std::vector<uint64_t>> before_;  // [id here][part]: cells with that mask in earlier parts
};

class ZipNode final : public CellTree {
 public:
  [[nodiscard]] static absl::StatusOr<NodePtr> Make(std::vector<NodePtr> parts, const RuleScope& scope);
  void Visit(uint64_t position, CellSink sink) const override;
  const std::string& Model(uint64_t position) const override { return parts_[model_part_]->Model(position); }
  uint64_t ModelRunEnd(uint64_t position) const override { return parts_[model_part_]->ModelRunEnd(position); }
  size_t RuleId(uint64_t position) const override;
  uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const override;
  Selected Select(uint64_t target, const RuleWeights& weights) const override;

 private:
  std::vector<NodePtr> parts_;
  size_t model_part_ = 0;
  const CellTree* ruled_ = nullptr;  // the only part that rules look at; else groups_ holds
  PositionGroups groups_;
};

class ExcludeNode final : public CellTree {
 public:
  // `scope` is the enclosing one; `from` was compiled with `rules` after it.
  [[nodiscard]] static absl::StatusOr<NodePtr> Make(NodePtr from, std::vector<std::unique_ptr<Rule>> rules,
                                                    const RuleScope& scope);
  void Visit(uint64_t position, CellSink sink) const override { from_->Visit(Source(position), sink); }
  const std::string& Model(uint64_t position) const override { return from_->Model(Source(position)); }
  uint64_t ModelRunEnd(uint64_t position) const override;
  size_t RuleId(uint64_t position) const override { return to_own_[from_->RuleId(Source(position))]; }
  uint64_t WeightBefore(uint64_t position, const RuleWeights& weights) const override;
  Selected Select(uint64_t target, const RuleWeights& weights) const override;

 private:
  static constexpr size_t kExcluded = ~size_t{0};
  uint64_t Source(uint64_t position) const { return from_->Select(position, survives_).position; }
  RuleWeights FromWeights(const RuleWeights& weights) const;

  std::vector<std::unique_ptr<Rule>> rules_;
  NodePtr from_;
  RuleWeights survives_;        // by id in from_: 1 where no rule of ours matches
  std::vector<size_t> to_own_;  // by id in from_
};

}  // namespace promptsweep::sweep::internal
