#include "jobs/sweep/algebra.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra_nodes.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace internal {
namespace {

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

bool IsWhole(const v1::Prompt& prompt) {
  if (prompt.has_text()) return !prompt.text().empty();
  return prompt.has_blank() && v1::BlankKind_IsValid(prompt.blank()) && prompt.blank() != v1::BLANK_KIND_UNSPECIFIED;
}

absl::Status CheckValue(const std::string& axis, const v1::Value& value) {
  if (axis == "model") {
    return value.string_value().empty() ? Invalid("a value of axis \"model\" is not a model's name") : absl::OkStatus();
  }
  if (axis == "prompt") {
    return IsWhole(value.prompt_value()) ? absl::OkStatus()
                                         : Invalid("a value of axis \"prompt\" is neither text nor a typed blank");
  }
  if (axis == "seed") {
    return value.has_int_value() && value.int_value() >= 0 ? absl::OkStatus() : Invalid("a seed is not a whole number from 0 up");
  }
  if (value.kind_case() == v1::Value::KIND_NOT_SET || value.has_prompt_value() ||
      (value.has_double_value() && !std::isfinite(value.double_value()))) {
    return Invalid(absl::StrCat("a value of axis \"", axis, "\" is missing or of the wrong kind"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NodePtr> CompileAxis(const v1::Axis& axis, const RuleScope& scope) {
  if (!IsIdentifier(axis.name()))
    return Invalid(absl::StrCat("axis name ", Quoted(axis.name()), " is not a lower-case identifier"));
  if (axis.has_list()) {
    if (axis.list().values().empty()) return Invalid(absl::StrCat("axis \"", axis.name(), "\" is empty"));
    for (const v1::Value& value : axis.list().values()) PS_RETURN_IF_ERROR(CheckValue(axis.name(), value));
    return std::make_unique<AxisNode>(axis, axis.list().values_size(), scope);
  }
  if (!axis.has_range()) return Invalid(absl::StrCat("axis \"", axis.name(), "\" has no values"));
  if (axis.name() == "model" || axis.name() == "prompt")
    return Invalid(absl::StrCat("axis \"", axis.name(), "\" cannot be a range"));
  PS_RETURN_IF_ERROR(CheckRange(axis.name(), axis.range()));
  return std::make_unique<AxisNode>(axis, axis.range().count(), scope);
}

absl::StatusOr<NodePtr> CompileNode(const v1::CellNode& node, const RuleScope& scope, int depth);

absl::StatusOr<std::vector<NodePtr>> CompileAll(const google::protobuf::RepeatedPtrField<v1::CellNode>& nodes,
                                                const RuleScope& scope, int depth, absl::string_view what) {
  if (nodes.empty()) return Invalid(absl::StrCat("a ", what, " of nothing"));
  std::vector<NodePtr> compiled;
  for (const v1::CellNode& node : nodes) {
    PS_ASSIGN_OR_RETURN(NodePtr child, CompileNode(node, scope, depth + 1));
    compiled.push_back(std::move(child));
  }
  return compiled;
}

absl::StatusOr<std::unique_ptr<Rule>> MakeRule(const v1::ExcludeRule& proto) {
  auto rule = std::make_unique<Rule>();
  if (proto.all_of().empty()) return Invalid("an exclusion rule without a condition");
  for (const v1::Condition& condition : proto.all_of()) {
    if (condition.any_of().values().empty() && condition.ranges().empty())
      return Invalid(absl::StrCat("a condition on \"", condition.axis(), "\" without values"));
    if (!condition.ranges().empty() && (condition.axis() == "model" || condition.axis() == "prompt"))
      return Invalid(absl::StrCat("a condition on \"", condition.axis(), "\" cannot be a range"));
    for (const v1::Value& value : condition.any_of().values()) PS_RETURN_IF_ERROR(CheckValue(condition.axis(), value));
    PS_ASSIGN_OR_RETURN(AllowedValues values, AllowedValues::Of(condition));
    auto [at, fresh] = rule->allowed.try_emplace(condition.axis(), values);
    if (!fresh) at->second.Intersect(values);
  }
  return rule;
}

absl::StatusOr<NodePtr> CompileExclude(const v1::Exclude& exclude, const RuleScope& scope, int depth) {
  if (exclude.rules().empty()) return Invalid("an exclusion without rules");
  if (exclude.rules_size() > kMaxRules) {
    return Invalid(absl::StrCat("an exclusion has ", exclude.rules_size(), " rules; at most ", kMaxRules, " are allowed"));
  }
  RuleScope inner = scope;
  std::vector<std::unique_ptr<Rule>> rules;
  for (const v1::ExcludeRule& proto : exclude.rules()) {
    PS_ASSIGN_OR_RETURN(std::unique_ptr<Rule> rule, MakeRule(proto));
    inner.rules.push_back(rule.get());
    rules.push_back(std::move(rule));
  }
  if (inner.rules.size() > 64) return Invalid("exclusions inside exclusions have more than 64 rules");
  PS_ASSIGN_OR_RETURN(NodePtr from, CompileNode(exclude.from(), inner, depth + 1));
  for (const auto& rule : rules) {
    for (const auto& [axis, values] : rule->allowed) {
      if (!from->HasAxis(axis))
        return Invalid(absl::StrCat("an exclusion rule names axis ", Quoted(axis), Hint(axis, from->axes())));
    }
  }
  return ExcludeNode::Make(std::move(from), std::move(rules), scope);
}

absl::StatusOr<NodePtr> CompileNode(const v1::CellNode& node, const RuleScope& scope, int depth) {
  if (depth > kMaxDepth) return Invalid(absl::StrCat("cells are nested more than ", kMaxDepth, " deep"));
  switch (node.node_case()) {
    case v1::CellNode::kAxis:
      return CompileAxis(node.axis(), scope);
    case v1::CellNode::kProduct: {
      PS_ASSIGN_OR_RETURN(std::vector<NodePtr> factors, CompileAll(node.product().factors(), scope, depth, "product"));
      return ProductNode::Make(std::move(factors), scope);
    }
    case v1::CellNode::kZip: {
      PS_ASSIGN_OR_RETURN(std::vector<NodePtr> parts, CompileAll(node.zip().parts(), scope, depth, "zip"));
      return ZipNode::Make(std::move(parts), scope);
    }
    case v1::CellNode::kChain: {
      PS_ASSIGN_OR_RETURN(std::vector<NodePtr> parts, CompileAll(node.chain().parts(), scope, depth, "chain"));
      return ChainNode::Make(std::move(parts), scope);
    }
    case v1::CellNode::kExclude:
      return CompileExclude(node.exclude(), scope, depth);
    case v1::CellNode::NODE_NOT_SET:
      return Invalid("a node of cells is empty");
  }
  return Invalid("a node of cells is of an unknown kind");
}

}  // namespace
}  // namespace internal

absl::StatusOr<std::unique_ptr<const CellTree>> CellTree::Compile(const v1::CellNode& node) {
  return internal::CompileNode(node, {}, 0);
}

absl::Status CheckRange(const std::string& axis, const v1::IntRange& range) {
  if (range.count() == 0) return absl::InvalidArgumentError(absl::StrCat("axis \"", axis, "\" is empty"));
  if (range.step() == 0) return absl::InvalidArgumentError(absl::StrCat("axis \"", axis, "\" has step 0"));
  // |step| * (count - 1) is below 2^127.
  const __int128 last = range.first() + static_cast<__int128>(range.step()) * (range.count() - 1);
  if (last < std::numeric_limits<int64_t>::min() || last > std::numeric_limits<int64_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("the range of axis \"", axis, "\" leaves 64 bits"));
  }
  if (axis == "seed" && std::min<__int128>(range.first(), last) < 0) return absl::InvalidArgumentError("a seed is below 0");
  return absl::OkStatus();
}

int AxisRank(const std::string& name) {
  if (name == "model") return 0;
  if (name == "width" || name == "height" || name == "size") return 1;
  if (name == "steps") return 2;
  if (name == "prompt") return 4;
  if (name == "seed") return 5;
  return 3;
}

void ForEachAxis(const v1::CellNode& node, absl::FunctionRef<void(const v1::Axis&)> visit) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis:
      return visit(node.axis());
    case v1::CellNode::kProduct:
      for (const v1::CellNode& factor : node.product().factors()) ForEachAxis(factor, visit);
      return;
    case v1::CellNode::kZip:
      for (const v1::CellNode& part : node.zip().parts()) ForEachAxis(part, visit);
      return;
    case v1::CellNode::kChain:
      for (const v1::CellNode& part : node.chain().parts()) ForEachAxis(part, visit);
      return;
    case v1::CellNode::kExclude:
      return ForEachAxis(node.exclude().from(), visit);
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

namespace {

std::pair<int, std::string> SlowestAxis(const v1::CellNode& node) {
  std::pair<int, std::string> slowest(std::numeric_limits<int>::max(), "");
  ForEachAxis(node, [&](const v1::Axis& axis) { slowest = std::min(slowest, std::pair(AxisRank(axis.name()), axis.name())); });
  return slowest;
}

void SortBySlowest(google::protobuf::RepeatedPtrField<v1::CellNode>& nodes) {
  std::vector<std::pair<std::pair<int, std::string>, v1::CellNode>> keyed;
  for (v1::CellNode& node : nodes) {
    auto key = SlowestAxis(node);
    keyed.emplace_back(std::move(key), std::move(node));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  nodes.Clear();
  for (auto& [key, node] : keyed) *nodes.Add() = std::move(node);
}

}  // namespace

void PutInOrder(v1::CellNode& node) {
  switch (node.node_case()) {
    case v1::CellNode::kProduct: {
      google::protobuf::RepeatedPtrField<v1::CellNode> factors;
      for (v1::CellNode& factor : *node.mutable_product()->mutable_factors()) {
        PutInOrder(factor);
        if (factor.has_product()) {
          for (v1::CellNode& inner : *factor.mutable_product()->mutable_factors()) *factors.Add() = std::move(inner);
        } else {
          *factors.Add() = std::move(factor);
        }
      }
      SortBySlowest(factors);
      if (factors.size() == 1) {
        v1::CellNode only = std::move(factors[0]);
        node = std::move(only);
      } else {
        *node.mutable_product()->mutable_factors() = std::move(factors);
      }
      return;
    }
    case v1::CellNode::kZip:
      for (v1::CellNode& part : *node.mutable_zip()->mutable_parts()) PutInOrder(part);
      return SortBySlowest(*node.mutable_zip()->mutable_parts());
    case v1::CellNode::kChain:
      for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) PutInOrder(part);
      return;
    case v1::CellNode::kExclude:
      return PutInOrder(*node.mutable_exclude()->mutable_from());
    case v1::CellNode::kAxis:
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

}  // namespace promptsweep::sweep
