// Random trees of every kind of node, and the algebra by naive expansion to compare with.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {

using Cell = std::map<std::string, std::string>;  // axis -> canonical value
using Random = std::mt19937_64;

// The definition of the algebra, by expansion.
inline std::vector<Cell> Expand(const v1::CellNode& node) {
  std::vector<Cell> cells;
  if (node.has_axis()) {
    const v1::Axis& axis = node.axis();
    for (const v1::Value& value : axis.list().values()) cells.push_back({{axis.name(), CanonicalValue(value)}});
    for (uint64_t k = 0; k < axis.range().count(); ++k) {
      cells.push_back({{axis.name(), CanonicalValue(Int(axis.range().first() + axis.range().step() * static_cast<int64_t>(k)))}});
    }
  } else if (node.has_product()) {
    cells = {{}};
    for (const v1::CellNode& factor : node.product().factors()) {
      std::vector<Cell> longer;
      for (const Cell& left : cells) {
        for (Cell right : Expand(factor)) {
          right.insert(left.begin(), left.end());
          longer.push_back(right);
        }
      }
      cells = longer;
    }
  } else if (node.has_zip()) {
    for (const v1::CellNode& part : node.zip().parts()) {
      std::vector<Cell> own = Expand(part);
      cells.resize(own.size());
      for (size_t i = 0; i < own.size(); ++i) cells[i].insert(own[i].begin(), own[i].end());
    }
  } else if (node.has_chain()) {
    for (const v1::CellNode& part : node.chain().parts()) {
      for (const Cell& cell : Expand(part)) cells.push_back(cell);
    }
  } else {
    for (const Cell& cell : Expand(node.exclude().from())) {
      bool excluded = false;
      for (const v1::ExcludeRule& rule : node.exclude().rules()) {
        bool all = true;
        for (const v1::Condition& condition : rule.all_of()) {
          bool any = false;
          auto own = cell.find(condition.axis());
          for (const v1::Value& value : condition.any_of().values())
            any |= own != cell.end() && own->second == CanonicalValue(value);
          for (const v1::IntRange& range : condition.ranges()) {
            for (uint64_t k = 0; k < range.count(); ++k)
              any |= own != cell.end() && own->second == CanonicalValue(Int(RangeValue(range, k)));
          }
          all &= any;
        }
        excluded |= all;
      }
      if (!excluded) cells.push_back(cell);
    }
  }
  return cells;
}

inline int Below(Random& random, int end) { return static_cast<int>(random() % end); }

inline v1::Value RandomValue(Random& random, const std::string& axis) {
  if (axis == "prompt")
    return Below(random, 4) == 0 ? BlankOf(static_cast<v1::BlankKind>(1 + Below(random, 4)))
                                 : PromptOf(std::string(1, static_cast<char>('a' + Below(random, 3))));
  if (axis == "model") return Text(std::string(1, static_cast<char>('a' + Below(random, 3))));
  return Below(random, 2) ? Int(Below(random, 5)) : Double(Below(random, 5));
}

inline v1::CellNode RandomAxis(Random& random, const std::string& name, int count) {
  if (name != "prompt" && name != "model" && Below(random, 2)) return Range(name, Below(random, 3), 1 + Below(random, 2), count);
  std::vector<v1::Value> values;
  for (int i = 0; i < count; ++i) values.push_back(RandomValue(random, name));
  if (name == "seed") {
    for (v1::Value& value : values) value = Int(Below(random, 5));
  }
  return List(name, values);
}

inline std::vector<RuleOf> RandomRules(Random& random, const std::vector<std::string>& axes) {
  std::vector<RuleOf> rules(1 + Below(random, 3));
  for (RuleOf& rule : rules) {
    for (int c = 1 + Below(random, 3); c > 0; --c) {
      const std::string& axis = axes[Below(random, static_cast<int>(axes.size()))];
      std::vector<v1::Value> values;
      for (int v = 1 + Below(random, 2); v > 0; --v)
        values.push_back(axis == "seed" ? Int(Below(random, 5)) : RandomValue(random, axis));
      rule.emplace_back(axis, values);
    }
  }
  return rules;
}

// A tree whose cells have (some of) these axes. May be refused, when an exclusion leaves nothing.
inline v1::CellNode RandomTree(Random& random, std::vector<std::string> axes, int depth, int count);

// A tree of exactly `count` cells, each with all of these axes.
inline v1::CellNode RandomOfCount(Random& random, const std::vector<std::string>& axes, int count) {
  const std::vector<std::string> left(axes.begin(), axes.begin() + (axes.size() + 1) / 2),
      right(axes.begin() + left.size(), axes.end());
  switch (Below(random, right.empty() ? 4 : 6)) {
    case 0: {
      if (count == 1) break;
      const int first = 1 + Below(random, count - 1);
      return Chain({RandomOfCount(random, axes, first), RandomOfCount(random, axes, count - first)});
    }
    case 1: {
      if (!right.empty() || (axes[0] != "seed" && axes[0] != "top_k")) break;
      return Exclude(Range(axes[0], 1, 2, count + 2), {{{axes[0], {Int(3), Int(1 + 2 * (count + 1))}}}});
    }
    case 4: {
      int first = 1 + Below(random, count);
      while (count % first != 0) --first;
      return Product({RandomOfCount(random, left, first), RandomOfCount(random, right, count / first)});
    }
    default:
      break;
  }
  if (right.empty()) return RandomAxis(random, axes[0], count);
  return Zip({RandomOfCount(random, left, count), RandomOfCount(random, right, count)});
}

inline v1::CellNode RandomZip(Random& random, const std::vector<std::string>& axes) {
  std::vector<v1::CellNode> parts;
  int count = 1 + Below(random, 6);
  if (Below(random, 2)) return RandomOfCount(random, axes, count);
  for (const std::string& axis : axes) parts.push_back(RandomAxis(random, axis, count));
  return Zip(parts);
}

// Turns some conditions on numbers into ranges, up and down, with and without gaps.
inline void AddRanges(Random& random, v1::Exclude& exclude) {
  for (v1::ExcludeRule& rule : *exclude.mutable_rules()) {
    for (v1::Condition& condition : *rule.mutable_all_of()) {
      if (condition.axis() == "model" || condition.axis() == "prompt" || Below(random, 2)) continue;
      if (Below(random, 2)) condition.clear_any_of();
      for (int n = 1 + Below(random, 2); n > 0; --n) {
        const int step = 1 + Below(random, 2), count = 1 + Below(random, 3), first = Below(random, 4);
        const bool down = Below(random, 2) && first >= step * (count - 1);
        *condition.add_ranges() = Range("", first, down ? -step : step, count).axis().range();
      }
    }
  }
}

inline v1::CellNode RandomTree(Random& random, std::vector<std::string> axes, int depth, int count) {
  std::shuffle(axes.begin(), axes.end(), random);
  if (depth == 0 || (axes.size() == 1 && Below(random, 2))) {
    std::vector<v1::CellNode> factors;
    for (const std::string& axis : axes) factors.push_back(RandomAxis(random, axis, 1 + Below(random, count)));
    return factors.size() == 1 ? factors[0] : Product(factors);
  }
  switch (Below(random, 4)) {
    case 0: {
      if (axes.size() == 1) return RandomTree(random, axes, depth - 1, count);
      size_t split = 1 + Below(random, static_cast<int>(axes.size()) - 1);
      return Product({RandomTree(random, {axes.begin(), axes.begin() + split}, depth - 1, count),
                      RandomTree(random, {axes.begin() + split, axes.end()}, depth - 1, count)});
    }
    case 1: {
      std::vector<v1::CellNode> parts;
      for (int p = 1 + Below(random, 3); p > 0; --p) {
        std::vector<std::string> own = axes;
        if (own.size() > 1 && Below(random, 3) == 0) own.pop_back();
        parts.push_back(RandomTree(random, own, depth - 1, count));
      }
      return Chain(parts);
    }
    case 2:
      return RandomZip(random, axes);
    default: {
      v1::CellNode from = RandomTree(random, axes, depth - 1, count);
      std::vector<std::string> present;
      ForEachAxis(from, [&](const v1::Axis& axis) { present.push_back(axis.name()); });
      v1::CellNode node = Exclude(from, RandomRules(random, present));
      AddRanges(random, *node.mutable_exclude());
      return node;
    }
  }
}

inline Cell CellOf(const CellTree& tree, uint64_t position) {
  Cell cell;
  tree.Visit(position, [&](const std::string& axis, const v1::Value& value) {
    EXPECT_TRUE(cell.emplace(axis, CanonicalValue(value)).second);
  });
  return cell;
}

// A tree as its author may have changed it: some axes longer, shorter or with other values, parts added, rules gone.
inline void Mutate(Random& random, v1::CellNode& node) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis: {
      v1::Axis& axis = *node.mutable_axis();
      if (Below(random, 2)) return;
      if (axis.has_range()) {
        axis.mutable_range()->set_count(axis.range().count() + Below(random, 3));
        if (Below(random, 4) == 0) axis.mutable_range()->set_first(Below(random, 3));
        if (Below(random, 6) == 0) axis.mutable_range()->set_step(1 + Below(random, 3));
      } else {
        const int at = Below(random, axis.list().values_size() + 1);
        *axis.mutable_list()->add_values() = axis.name() == "seed" ? Int(Below(random, 7)) : RandomValue(random, axis.name());
        std::rotate(axis.mutable_list()->mutable_values()->begin() + at, axis.mutable_list()->mutable_values()->end() - 1,
                    axis.mutable_list()->mutable_values()->end());
      }
      return;
    }
    case v1::CellNode::kProduct:
      for (v1::CellNode& factor : *node.mutable_product()->mutable_factors()) Mutate(random, factor);
      return;
    case v1::CellNode::kZip:
      if (Below(random, 2)) node = Chain({node, RandomOfCount(random, {"seed", "model"}, 2)});
      return;
    case v1::CellNode::kChain:
      for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) Mutate(random, part);
      return;
    case v1::CellNode::kExclude:
      if (Below(random, 4) == 0) {
        const v1::CellNode from = node.exclude().from();
        node = from;
      } else {
        Mutate(random, *node.mutable_exclude()->mutable_from());
      }
      return;
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

inline v1::SweepSpec WithRandomDefaults(Random& random, const v1::CellNode& cells) {
  v1::SweepSpec spec = SpecOf(cells);
  if (Below(random, 2)) AddDefault(spec, "top_k", Below(random, 2) ? Int(Below(random, 4)) : Double(Below(random, 4)));
  return spec;
}

}  // namespace promptsweep::sweep
