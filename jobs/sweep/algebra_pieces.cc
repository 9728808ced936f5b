#include "jobs/sweep/algebra_pieces.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra_cover.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::sweep::internal {
namespace {

constexpr uint64_t kShortList = 256;
constexpr size_t kMostRanges = 64;  // in a chain

v1::CellNode RangeNode(const v1::Axis& axis, uint64_t begin, uint64_t end) {
  v1::CellNode node;
  node.mutable_axis()->set_name(axis.name());
  node.mutable_axis()->mutable_range()->set_first(RangeValue(axis.range(), begin));
  node.mutable_axis()->mutable_range()->set_step(axis.range().step());
  node.mutable_axis()->mutable_range()->set_count(end - begin);
  return node;
}

// The values of a range at `pieces`.
absl::StatusOr<v1::CellNode> PiecesOfRange(const v1::Axis& axis, const Pieces& pieces) {
  if (pieces.size() == 1) return RangeNode(axis, pieces[0].first, pieces[0].second);
  const uint64_t length = LengthOf(pieces);
  v1::CellNode node;
  if (length <= kShortList || (pieces.size() > kMostRanges && length <= kMaxListedRange)) {
    node.mutable_axis()->set_name(axis.name());
    for (const auto& [begin, end] : pieces) {
      for (uint64_t k = begin; k < end; ++k)
        node.mutable_axis()->mutable_list()->add_values()->set_int_value(RangeValue(axis.range(), k));
    }
  } else if (pieces.size() <= kMostRanges) {
    for (const auto& [begin, end] : pieces) *node.mutable_chain()->add_parts() = RangeNode(axis, begin, end);
  } else {
    *node.mutable_exclude()->mutable_from()->mutable_axis() = axis;
    v1::Condition& condition = *node.mutable_exclude()->add_rules()->add_all_of();
    condition.set_axis(axis.name());
    uint64_t at = 0;
    auto leave_out = [&](uint64_t end) {
      if (at < end) *condition.add_ranges() = RangeNode(axis, at, end).axis().range();
    };
    for (const auto& [begin, end] : pieces) {
      leave_out(begin);
      at = end;
    }
    leave_out(axis.range().count());
    if (!CellTree::Compile(node).ok()) return NoShortForm(absl::StrCat("ranges of \"", axis.name(), "\" alternate"));
  }
  return node;
}

}  // namespace

uint64_t LengthOf(const Pieces& pieces) {
  uint64_t length = 0;
  for (const auto& [begin, end] : pieces) length += end - begin;
  return length;
}

absl::StatusOr<v1::CellNode> PiecesOfAxis(const v1::Axis& axis, const Pieces& pieces) {
  if (axis.has_range()) return PiecesOfRange(axis, pieces);
  v1::CellNode node;
  node.mutable_axis()->set_name(axis.name());
  for (const auto& [begin, end] : pieces) {
    for (uint64_t k = begin; k < end; ++k)
      *node.mutable_axis()->mutable_list()->add_values() = axis.list().values(static_cast<int>(k));
  }
  return node;
}

// The rows of a zip at `pieces`.
absl::StatusOr<v1::CellNode> PiecesOfZip(const v1::CellNode& zip, const CellTree& tree, const Pieces& pieces) {
  if (LengthOf(pieces) == tree.count()) return zip;
  const auto& parts = zip.zip().parts();
  const bool plain = std::all_of(parts.begin(), parts.end(), [](const v1::CellNode& part) { return part.has_axis(); });
  v1::CellNode node;
  if (plain && pieces.size() == 1) {
    for (const v1::CellNode& part : parts) {
      PS_ASSIGN_OR_RETURN(*node.mutable_zip()->add_parts(), PiecesOfAxis(part.axis(), pieces));
    }
    return node;
  }
  if (LengthOf(pieces) > kMaxListedRange) return NoShortForm("a long zip falls into pieces");
  std::map<std::string, v1::Axis*> columns;
  for (const std::string& axis : tree.axes()) {
    columns[axis] = node.mutable_zip()->add_parts()->mutable_axis();
    columns[axis]->set_name(axis);
  }
  for (const auto& [begin, end] : pieces) {
    for (uint64_t k = begin; k < end; ++k) {
      tree.Visit(k,
                 [&](const std::string& axis, const v1::Value& value) { *columns[axis]->mutable_list()->add_values() = value; });
    }
  }
  return node;
}

v1::CellNode ProductOf(const std::vector<const v1::CellNode*>& nodes) {
  if (nodes.size() == 1) return *nodes[0];
  v1::CellNode product;
  for (const v1::CellNode* node : nodes) {
    if (node->has_product()) {
      product.mutable_product()->mutable_factors()->MergeFrom(node->product().factors());
    } else {
      *product.mutable_product()->add_factors() = *node;
    }
  }
  return product;
}

}  // namespace promptsweep::sweep::internal
