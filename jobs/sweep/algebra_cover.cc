#include "jobs/sweep/algebra_cover.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/fingerprint.h"

namespace promptsweep::sweep::internal {
namespace {

// Position of a whole number in a range.
std::optional<uint64_t> PositionOf(const v1::IntRange& range, int64_t number) {
  const __int128 away = static_cast<__int128>(number) - range.first();
  if (away % range.step() != 0) return std::nullopt;
  const __int128 position = away / range.step();
  if (position < 0 || position >= static_cast<__int128>(range.count())) return std::nullopt;
  return static_cast<uint64_t>(position);
}

void AddBreak(uint64_t begin, uint64_t end, uint64_t count, std::vector<uint64_t>& breaks) {
  if (begin > 0) breaks.push_back(begin);
  if (end < count) breaks.push_back(end);
}

absl::StatusOr<std::vector<Box>> BoxesOfNode(const v1::CellNode& node, const std::vector<AxisNames>& zipped);

// Every box of `left` with every box of `right`.
absl::Status Cross(const std::vector<Box>& right, std::vector<Box>& left) {
  if (left.size() * right.size() > kMaxBoxes) return NoShortForm("the cells are of too many parts");
  std::vector<Box> both;
  for (const Box& a : left) {
    for (const Box& b : right) {
      Box& box = both.emplace_back(a);
      box.sets.insert(b.sets.begin(), b.sets.end());
      box.zips.insert(box.zips.end(), b.zips.begin(), b.zips.end());
      box.rules.insert(box.rules.end(), b.rules.begin(), b.rules.end());
      box.axes.insert(b.axes.begin(), b.axes.end());
      if (box.rules.size() > 64) return NoShortForm("the cells stand under more than 64 exclusion rules");
    }
  }
  left = std::move(both);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Box>> BoxesOfZip(const v1::CellNode& node, const std::vector<AxisNames>& zipped) {
  PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> tree, CellTree::Compile(node));
  const AxisNames axes(tree->axes().begin(), tree->axes().end());
  const bool together = tree->axes() == tree->always() && std::find(zipped.begin(), zipped.end(), axes) != zipped.end();
  auto row_at = [&](uint64_t position) {
    Row row;
    tree->Visit(position, [&](const std::string& axis, const v1::Value& value) { row.emplace(axis, Point(value)); });
    return row;
  };
  std::vector<Box> boxes;
  if (!together && tree->count() <= kMaxLooseRows) {
    for (uint64_t i = 0; i < tree->count(); ++i) {
      Box& box = boxes.emplace_back();
      for (const auto& [axis, point] : row_at(i)) {
        box.axes.insert(axis);
        box.sets.emplace(axis, std::make_shared<ValueSet>(point));
      }
    }
    return boxes;
  }
  if (tree->axes() != tree->always()) return NoShortForm("a long zip has rows of different axes");
  auto rows = std::make_shared<RowSet>();
  rows->axes = axes;
  rows->bytes = node.SerializeAsString();
  rows->scanned = tree->count() <= kMaxZipScan;
  for (uint64_t i = 0; rows->scanned && i < tree->count(); ++i) rows->rows.insert(RowKey(row_at(i)));
  Box& box = boxes.emplace_back();
  box.axes = axes;
  box.zips.push_back(std::move(rows));
  return boxes;
}

absl::StatusOr<std::shared_ptr<Rule>> RuleOf(const v1::ExcludeRule& proto) {
  auto rule = std::make_shared<Rule>();
  for (const v1::Condition& condition : proto.all_of()) {
    PS_ASSIGN_OR_RETURN(AllowedValues values, AllowedValues::Of(condition));
    auto [at, fresh] = rule->allowed.try_emplace(condition.axis(), values);
    if (!fresh) at->second.Intersect(values);
  }
  return rule;
}

absl::StatusOr<std::vector<Box>> BoxesOfExclude(const v1::Exclude& exclude, const std::vector<AxisNames>& zipped) {
  PS_ASSIGN_OR_RETURN(std::vector<Box> boxes, BoxesOfNode(exclude.from(), zipped));
  for (const v1::ExcludeRule& proto : exclude.rules()) {
    PS_ASSIGN_OR_RETURN(const std::shared_ptr<const Rule> rule, RuleOf(proto));
    for (Box& box : boxes) {
      const bool applies =
          std::all_of(rule->allowed.begin(), rule->allowed.end(), [&](const auto& on) { return box.axes.contains(on.first); });
      if (applies) box.rules.push_back(rule);
      if (box.rules.size() > 64) return NoShortForm("the cells stand under more than 64 exclusion rules");
    }
  }
  return boxes;
}

absl::StatusOr<std::vector<Box>> BoxesOfNode(const v1::CellNode& node, const std::vector<AxisNames>& zipped) {
  std::vector<Box> boxes;
  switch (node.node_case()) {
    case v1::CellNode::kAxis: {
      Box& box = boxes.emplace_back();
      box.axes.insert(node.axis().name());
      box.sets.emplace(node.axis().name(), std::make_shared<ValueSet>(node.axis()));
      return boxes;
    }
    case v1::CellNode::kProduct:
      boxes.emplace_back();
      for (const v1::CellNode& factor : node.product().factors()) {
        PS_ASSIGN_OR_RETURN(std::vector<Box> own, BoxesOfNode(factor, zipped));
        PS_RETURN_IF_ERROR(Cross(own, boxes));
      }
      return boxes;
    case v1::CellNode::kZip:
      return BoxesOfZip(node, zipped);
    case v1::CellNode::kChain:
      for (const v1::CellNode& part : node.chain().parts()) {
        PS_ASSIGN_OR_RETURN(std::vector<Box> own, BoxesOfNode(part, zipped));
        if (boxes.size() + own.size() > kMaxBoxes) return NoShortForm("the cells are of too many parts");
        std::move(own.begin(), own.end(), std::back_inserter(boxes));
      }
      return boxes;
    case v1::CellNode::kExclude:
      return BoxesOfExclude(node.exclude(), zipped);
    case v1::CellNode::NODE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a node of cells is empty");
}

void FindAxes(const v1::CellNode& node, std::set<AxisNames>& zips, AxisNames& loose) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis:
      loose.insert(node.axis().name());
      return;
    case v1::CellNode::kZip: {
      AxisNames axes;
      ForEachAxis(node, [&](const v1::Axis& axis) { axes.insert(axis.name()); });
      zips.insert(std::move(axes));
      return;
    }
    case v1::CellNode::kProduct:
      for (const v1::CellNode& factor : node.product().factors()) FindAxes(factor, zips, loose);
      return;
    case v1::CellNode::kChain:
      for (const v1::CellNode& part : node.chain().parts()) FindAxes(part, zips, loose);
      return;
    case v1::CellNode::kExclude:
      return FindAxes(node.exclude().from(), zips, loose);
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

}  // namespace

absl::Status NoShortForm(absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(why, ": the new cells have no short form; append a part with them to the chain of cells instead"));
}

Point::Point(v1::Value of) : value(std::move(of)), canonical(CanonicalValue(value)) {
  if (canonical.empty() || canonical[0] != 'i') return;
  whole = value.has_double_value() ? static_cast<int64_t>(value.double_value()) : value.int_value();
}

ValueSet::ValueSet(const v1::Axis& axis) {
  if (axis.has_range()) {
    const v1::IntRange& range = axis.range();
    if (range.count() <= 2) {
      for (uint64_t k = 0; k < range.count(); ++k) whole_.push_back(RangeValue(range, k));
      std::sort(whole_.begin(), whole_.end());
      return;
    }
    range_ = range;
    // Three values fit in 64 bits, so the step has an opposite.
    if (range.step() < 0) {
      range_->set_first(RangeValue(range, range.count() - 1));
      range_->set_step(-range.step());
    }
    return;
  }
  for (const v1::Value& value : axis.list().values()) {
    Point point(value);
    if (point.whole.has_value()) {
      whole_.push_back(*point.whole);
    } else {
      others_.insert(std::move(point.canonical));
    }
  }
  std::sort(whole_.begin(), whole_.end());
}

ValueSet::ValueSet(const Point& point) {
  if (point.whole.has_value()) {
    whole_.push_back(*point.whole);
  } else {
    others_.insert(point.canonical);
  }
}

bool ValueSet::Contains(const Point& point) const {
  if (!point.whole.has_value()) return others_.contains(point.canonical);
  if (range_.has_value()) return PositionOf(*range_, *point.whole).has_value();
  return std::binary_search(whole_.begin(), whole_.end(), *point.whole);
}

absl::Status ValueSet::AddBreaks(const v1::IntRange& range, std::vector<uint64_t>& breaks) const {
  for (int64_t number : whole_) AddInterval(range, number, number, breaks);
  if (!range_.has_value()) return absl::OkStatus();
  const int64_t last = RangeValue(*range_, range_->count() - 1);
  const __int128 step = range.step(), stride = step < 0 ? -step : step;
  const __int128 apart = static_cast<__int128>(range.first()) - range_->first();
  if (apart % std::gcd(static_cast<uint64_t>(stride), static_cast<uint64_t>(range_->step())) != 0) return absl::OkStatus();
  if (stride % range_->step() == 0) {
    AddInterval(range, range_->first(), last, breaks);
    return absl::OkStatus();
  }
  // Every so many positions of `range` are in the set: each is a piece of its own.
  const int64_t end = RangeValue(range, range.count() - 1);
  const __int128 low = std::max(std::min(range.first(), end), range_->first()),
                 high = std::min(std::max(range.first(), end), last);
  if (low > high) return absl::OkStatus();
  const __int128 from = (low - range_->first() + range_->step() - 1) / range_->step(),
                 to = (high - range_->first()) / range_->step();
  if (to - from >= static_cast<__int128>(kMaxBreaks)) return NoShortForm("ranges of different steps alternate");
  for (__int128 k = from; k <= to; ++k) {
    const int64_t number = RangeValue(*range_, static_cast<uint64_t>(k));
    AddInterval(range, number, number, breaks);
  }
  return absl::OkStatus();
}

void AddInterval(const v1::IntRange& range, int64_t low, int64_t high, std::vector<uint64_t>& breaks) {
  const __int128 first = range.first(), step = range.step(), size = step < 0 ? -step : step;
  const __int128 near = step > 0 ? low - first : first - high, far = step > 0 ? high - first : first - low;
  if (far < 0) return;
  const __int128 begin = near <= 0 ? 0 : (near + size - 1) / size;
  const __int128 end = std::min<__int128>(far / size, static_cast<__int128>(range.count()) - 1) + 1;
  if (begin < end) AddBreak(static_cast<uint64_t>(begin), static_cast<uint64_t>(end), range.count(), breaks);
}

std::string RowKey(const Row& row) {
  std::string key;
  for (const auto& [axis, point] : row) absl::StrAppend(&key, point.canonical.size(), ":", point.canonical);
  return key;
}

std::vector<AxisNames> ZippedAxes(const std::vector<const v1::CellNode*>& nodes) {
  std::set<AxisNames> zips;
  AxisNames loose;
  for (const v1::CellNode* node : nodes) FindAxes(*node, zips, loose);
  std::map<std::string, int> zips_with;
  for (const AxisNames& zip : zips) {
    for (const std::string& axis : zip) ++zips_with[axis];
  }
  std::vector<AxisNames> together;
  for (const AxisNames& zip : zips) {
    if (std::all_of(zip.begin(), zip.end(),
                    [&](const std::string& axis) { return zips_with[axis] == 1 && !loose.contains(axis); }))
      together.push_back(zip);
  }
  return together;
}

absl::StatusOr<std::vector<Box>> BoxesOf(const std::vector<const v1::CellNode*>& nodes, const std::vector<AxisNames>& zipped) {
  std::vector<Box> boxes(1);
  for (const v1::CellNode* node : nodes) {
    PS_ASSIGN_OR_RETURN(std::vector<Box> own, BoxesOfNode(*node, zipped));
    PS_RETURN_IF_ERROR(Cross(own, boxes));
  }
  return boxes;
}

absl::StatusOr<std::vector<Box>> BoxesOfRules(const v1::Exclude& exclude) {
  std::vector<Box> boxes;
  for (const v1::ExcludeRule& proto : exclude.rules()) {
    Box& box = boxes.emplace_back();
    PS_ASSIGN_OR_RETURN(const std::shared_ptr<const Rule> rule, RuleOf(proto));
    box.is_rule = true;
    for (const auto& [axis, allowed] : rule->allowed) box.axes.insert(axis);
    box.rules.push_back(rule);
  }
  return boxes;
}

}  // namespace promptsweep::sweep::internal
