#include "jobs/sweep/extension.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/algebra_difference.h"
#include "jobs/sweep/difference.h"
#include "jobs/sweep/plan.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::sweep {
namespace {

constexpr size_t kShownLines = 3;

absl::Status Refused(absl::string_view why, const std::vector<std::string>& lines) {
  return absl::InvalidArgumentError(absl::StrCat(why, ": ", absl::StrJoin(lines, "; ")));
}

// What an outermost chain goes on from: its parts, or the one node.
std::vector<const v1::CellNode*> PartsOf(const v1::CellNode& cells) {
  if (!cells.has_chain()) return {&cells};
  std::vector<const v1::CellNode*> parts;
  for (const v1::CellNode& part : cells.chain().parts()) parts.push_back(&part);
  return parts;
}

// One form for values and axes that mean the same (freezing gives values their types and writes ranges of fractions out).
void Normalise(v1::Value& value) {
  constexpr double kExact = 9007199254740992.0;  // as in CanonicalValue
  if (!value.has_double_value()) return;
  const double number = value.double_value();
  if (number >= -kExact && number <= kExact && static_cast<double>(static_cast<int64_t>(number)) == number)
    value.set_int_value(static_cast<int64_t>(number));
}

void Normalise(v1::CellNode& node) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis: {
      v1::Axis& axis = *node.mutable_axis();
      if (axis.has_range() && axis.name() != "seed" && axis.range().count() <= kMaxListedRange) {
        const v1::IntRange range = axis.range();
        for (uint64_t k = 0; k < range.count(); ++k) axis.mutable_list()->add_values()->set_int_value(RangeValue(range, k));
      }
      if (!axis.has_list()) return;
      for (v1::Value& value : *axis.mutable_list()->mutable_values()) Normalise(value);
      return;
    }
    case v1::CellNode::kProduct:
      for (v1::CellNode& factor : *node.mutable_product()->mutable_factors()) Normalise(factor);
      return;
    case v1::CellNode::kZip:
      for (v1::CellNode& part : *node.mutable_zip()->mutable_parts()) Normalise(part);
      return;
    case v1::CellNode::kChain:
      for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) Normalise(part);
      return;
    case v1::CellNode::kExclude:
      Normalise(*node.mutable_exclude()->mutable_from());
      for (v1::ExcludeRule& rule : *node.mutable_exclude()->mutable_rules()) {
        for (v1::Condition& condition : *rule.mutable_all_of()) {
          for (v1::Value& value : *condition.mutable_any_of()->mutable_values()) Normalise(value);
        }
      }
      return;
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

bool SameMeaning(v1::CellNode a, v1::CellNode b) {
  Normalise(a);
  Normalise(b);
  return a.SerializeAsString() == b.SerializeAsString();
}

// True if the parts of `after` begin with those of `before`; `same` compares two.
template <typename Same>
bool BeginsWith(const std::vector<const v1::CellNode*>& after, const std::vector<const v1::CellNode*>& before, Same same) {
  if (after.size() < before.size()) return false;
  return std::equal(before.begin(), before.end(), after.begin(), [&](auto* a, auto* b) { return same(*a, *b); });
}

// All of a spec but its cells.
v1::SweepSpec Frame(const v1::SweepSpec& spec) {
  v1::SweepSpec frame = spec;
  frame.clear_cells();
  for (v1::Setting& setting : *frame.mutable_defaults()) Normalise(*setting.mutable_value());
  return frame;
}

// All that an extension leaves as it is, but its models and cells.
v1::SweepManifest Frame(const v1::SweepManifest& manifest) {
  v1::SweepManifest frame = manifest;
  frame.mutable_spec()->clear_cells();
  frame.clear_cell_count();
  frame.clear_models();
  return frame;
}

absl::Status CheckModels(const v1::SweepManifest& before, const v1::SweepManifest& after) {
  std::set<std::string> ids;
  for (const v1::ModelRef& model : before.models()) ids.insert(model.id());
  v1::SweepManifest were, are;
  *were.mutable_models() = before.models();
  for (const v1::ModelRef& model : after.models()) {
    if (ids.contains(model.id())) *are.add_models() = model;
  }
  const std::vector<std::string> lines = Differences(were, are, kShownLines);
  return lines.empty() ? absl::OkStatus() : Refused("an extension leaves the models of a sweep as they are", lines);
}

absl::Status CheckCells(const v1::SweepManifest& manifest, const v1::SweepManifest& extension) {
  const v1::CellNode &before = manifest.spec().cells(), &after = extension.spec().cells();
  auto same = [](const v1::CellNode& a, const v1::CellNode& b) { return a.SerializeAsString() == b.SerializeAsString(); };
  const std::vector<const v1::CellNode*> were = PartsOf(before), are = PartsOf(after);
  // The chain itself may also be the first part of another.
  if (BeginsWith(are, were, same) || BeginsWith(are, {&before}, same)) {
    return extension.cell_count() > manifest.cell_count() ? absl::OkStatus()
                                                          : absl::InvalidArgumentError("the extension asks nothing new");
  }
  v1::SweepSpec old_cells, first_cells;
  *old_cells.mutable_cells() = before;
  for (size_t p = 0; p < std::min(were.size(), are.size()); ++p) {
    v1::CellNode& cells = *first_cells.mutable_cells();
    *(before.has_chain() ? cells.mutable_chain()->add_parts() : &cells) = *are[p];
  }
  return Refused("the extended cells do not begin with those of the sweep", Differences(old_cells, first_cells, kShownLines));
}

}  // namespace

bool IsOrWas(absl::string_view digest, absl::string_view current,
             const google::protobuf::RepeatedPtrField<std::string>& earlier) {
  return digest == current || std::find(earlier.begin(), earlier.end(), digest) != earlier.end();
}

absl::Status CheckExtension(const v1::SweepManifest& before, const v1::SweepManifest& after) {
  if (!before.imported_from().empty() || !after.imported_from().empty())
    return absl::InvalidArgumentError("an imported sweep cannot be extended");
  PS_RETURN_IF_ERROR(Annotate(Plan::FromManifest(before).status(), "the sweep to extend is not whole"));
  PS_RETURN_IF_ERROR(Annotate(Plan::FromManifest(after).status(), "the extension is not whole"));
  const std::vector<std::string> lines = Differences(Frame(before), Frame(after), kShownLines);
  if (!lines.empty()) return Refused("an extension may add cells and models only", lines);
  PS_RETURN_IF_ERROR(CheckModels(before, after));
  return CheckCells(before, after);
}

absl::StatusOr<v1::SweepSpec> ExtendSpec(const v1::SweepSpec& before, const v1::SweepSpec& grown) {
  PS_RETURN_IF_ERROR(Annotate(CellTree::Compile(before.cells()).status(), "the sweep to extend is not whole"));
  PS_RETURN_IF_ERROR(Annotate(CellTree::Compile(grown.cells()).status(), "the grown spec is not whole"));
  const std::vector<std::string> lines = Differences(Frame(before), Frame(grown), kShownLines);
  if (!lines.empty()) return Refused("only the cells of a sweep can grow", lines);

  std::vector<const v1::CellNode*> parts = PartsOf(before.cells());
  const std::vector<const v1::CellNode*> written = PartsOf(grown.cells());
  std::optional<v1::CellNode> beyond;
  if (BeginsWith(written, parts, SameMeaning)) {
    parts.insert(parts.end(), written.begin() + static_cast<std::ptrdiff_t>(parts.size()), written.end());
  } else {
    PS_ASSIGN_OR_RETURN(beyond, CellsBeyond(grown.cells(), before.cells(), before.defaults()));
    for (const v1::CellNode* part : beyond.has_value() ? PartsOf(*beyond) : std::vector<const v1::CellNode*>())
      parts.push_back(part);
  }
  v1::SweepSpec extended = before;
  if (parts.size() == PartsOf(before.cells()).size()) return extended;
  v1::CellNode cells;
  for (const v1::CellNode* part : parts) *cells.mutable_chain()->add_parts() = *part;
  PS_RETURN_IF_ERROR(Annotate(CellTree::Compile(cells).status(), "the extended sweep is not possible"));
  *extended.mutable_cells() = std::move(cells);
  return extended;
}

}  // namespace promptsweep::sweep
