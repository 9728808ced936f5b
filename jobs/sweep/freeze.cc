#include "jobs/sweep/freeze.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/image_location.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/plan.h"
#include "jobs/sweep/settings.h"

namespace promptsweep::sweep {
namespace {

using Models = std::map<std::string, ModelFolder>;  // by the name on the axis; empty architecture: not found
using Names = std::set<std::string>;

void AddModels(const v1::CellNode& node, Names& names) {
  ForEachAxis(node, [&](const v1::Axis& axis) {
    if (axis.name() != "model") return;
    for (const v1::Value& value : axis.list().values()) names.insert(value.string_value());
  });
}

class Freezer {
 public:
  Freezer(const ModelCatalog& catalog, const FreezeOptions& options) : catalog_(catalog), options_(options) {}

  absl::StatusOr<v1::SweepManifest> Freeze(const v1::SweepSpec& spec) {
    PS_RETURN_IF_ERROR(CheckOptions());
    if (spec.version() != 1) return absl::InvalidArgumentError(absl::StrCat("spec version ", spec.version(), " is not 1"));
    if (!IsName(spec.name()))
      return absl::InvalidArgumentError(absl::StrCat("sweep name ", Quoted(spec.name()), " is not a name"));
    PS_RETURN_IF_ERROR(CheckImages(spec.images()));
    v1::SweepManifest manifest;
    *manifest.mutable_spec() = spec;
    Names on_axis;
    AddModels(spec.cells(), on_axis);
    for (const std::string& id : on_axis) PS_RETURN_IF_ERROR(Resolve("model", id, *manifest.add_models()));
    Names embedders;
    for (const std::string& id : spec.embedders()) {
      if (!embedders.insert(id).second) return Error("embedders", id, absl::StrCat("embedder ", Quoted(id), " appears twice"));
      PS_RETURN_IF_ERROR(Resolve("embedders", id, *manifest.add_embedders()));
    }
    PS_RETURN_IF_ERROR(CheckSettings(*manifest.mutable_spec()->mutable_cells(), on_axis));
    for (v1::Setting& setting : *manifest.mutable_spec()->mutable_defaults()) {
      PS_RETURN_IF_ERROR(CheckValue(setting.name(), on_axis, *setting.mutable_value()));
    }
    PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> tree, CellTree::Compile(manifest.spec().cells()));
    manifest.set_cell_count(tree->count());
    manifest.set_noise_dtype(options_.noise_dtype);
    manifest.set_compute_dtype(options_.compute_dtype);
    PS_RETURN_IF_ERROR(Plan::FromManifest(manifest).status());
    if (manifest.ByteSizeLong() > kMaxManifestBytes) {
      return Error("cells", v1::Value(),
                   absl::StrCat("the sweep's lists take ", manifest.ByteSizeLong(), " bytes; at most ", kMaxManifestBytes,
                                " fit in one sweep, so split its prompts over several"));
    }
    return manifest;
  }

 private:
  absl::Status CheckOptions() const {
    if (options_.noise_dtype != "float32") {
      return absl::InvalidArgumentError(absl::StrCat("noise dtype ", Quoted(options_.noise_dtype), " is not float32"));
    }
    const std::vector<std::string> known = {"float32", "bfloat16", "float16"};
    if (std::find(known.begin(), known.end(), options_.compute_dtype) == known.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown compute dtype ", Quoted(options_.compute_dtype), Hint(options_.compute_dtype, known)));
    }
    return absl::OkStatus();
  }

  // An error at the place where the value stands in the spec, if that is known.
  absl::Status Error(const std::string& axis, const v1::Value& value, absl::string_view message) const {
    if (options_.where != nullptr) {
      auto at = options_.where->find({axis, CanonicalValue(value)});
      if (at != options_.where->end()) return absl::InvalidArgumentError(absl::StrCat(at->second, ": ", message));
    }
    return absl::InvalidArgumentError(message);
  }
  absl::Status Error(const std::string& axis, const std::string& id, absl::string_view message) const {
    v1::Value value;
    value.set_string_value(id);
    return Error(axis, value, message);
  }

  absl::Status Resolve(const std::string& axis, const std::string& id, v1::ModelRef& ref) {
    ref.set_id(id);
    absl::StatusOr<ModelFolder> found = catalog_.Find(id);
    if (absl::IsNotFound(found.status()) && options_.allow_unknown_models) {
      models_[id] = {};
      return absl::OkStatus();
    }
    if (!found.ok()) return Error(axis, id, found.status().message());
    if (axis == "model" && !found->generates) {
      return Error(axis, id,
                   absl::StrCat("model ", Quoted(id), " (", found->architecture,
                                ") does not generate images; it can stand under embedders"));
    }
    if (axis == "embedders" && !found->embeds) {
      return Error(axis, id,
                   absl::StrCat("model ", Quoted(id), " (", found->architecture,
                                ") does not embed images; it can stand on the model axis"));
    }
    ref = found->Ref();
    ref.set_id(id);
    models_[id] = *std::move(found);
    return absl::OkStatus();
  }

  // Checks the settings under `node` against the models they can meet: those of its own product or zip, else `outer`.
  absl::Status CheckSettings(v1::CellNode& node, const Names& outer) {
    switch (node.node_case()) {
      case v1::CellNode::kAxis:
        return CheckAxis(*node.mutable_axis(), outer);
      case v1::CellNode::kProduct:
        return CheckTogether(node, *node.mutable_product()->mutable_factors(), outer);
      case v1::CellNode::kZip:
        return CheckTogether(node, *node.mutable_zip()->mutable_parts(), outer);
      case v1::CellNode::kChain:
        for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) PS_RETURN_IF_ERROR(CheckSettings(part, outer));
        return absl::OkStatus();
      case v1::CellNode::kExclude:
        return CheckSettings(*node.mutable_exclude()->mutable_from(), outer);
      case v1::CellNode::NODE_NOT_SET:
        return absl::InvalidArgumentError("a node of cells is empty");
    }
    return absl::OkStatus();
  }

  absl::Status CheckTogether(const v1::CellNode& node, google::protobuf::RepeatedPtrField<v1::CellNode>& children,
                             const Names& outer) {
    Names own;
    AddModels(node, own);
    for (v1::CellNode& child : children) PS_RETURN_IF_ERROR(CheckSettings(child, own.empty() ? outer : own));
    return absl::OkStatus();
  }

  absl::Status CheckAxis(v1::Axis& axis, const Names& models) {
    if (axis.name() == "model" || axis.name() == "prompt" || axis.name() == "seed") return absl::OkStatus();
    if (axis.has_list()) {
      for (v1::Value& value : *axis.mutable_list()->mutable_values()) PS_RETURN_IF_ERROR(CheckValue(axis.name(), models, value));
      return absl::OkStatus();
    }
    const v1::IntRange range = axis.range();
    if (range.count() == 0) return absl::InvalidArgumentError(absl::StrCat("axis \"", axis.name(), "\" is empty"));
    bool fractional = false;
    for (uint64_t k : {uint64_t{0}, range.count() - 1}) {
      v1::Value value;
      value.set_int_value(RangeValue(range, k));
      PS_RETURN_IF_ERROR(CheckValue(axis.name(), models, value));
      fractional = value.has_double_value();
    }
    // A range of a setting that takes fractions is written out, so that its values have their type.
    if (fractional) {
      if (range.count() > kMaxListedRange)
        return absl::InvalidArgumentError(absl::StrCat("axis \"", axis.name(), "\" has too many values"));
      for (uint64_t k = 0; k < range.count(); ++k) {
        axis.mutable_list()->add_values()->set_double_value(static_cast<double>(RangeValue(range, k)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckValue(const std::string& name, const Names& models, v1::Value& value) {
    for (const std::string& id : models) {
      const ModelFolder& model = models_[id];
      absl::Status status = model.architecture.empty() ? CheckSetting(name, value)
                                                       : CheckSettingOf(model.architecture, model.image_vocab, name, value);
      if (!status.ok()) return Error(name, value, absl::StrCat(status.message(), " (model ", Quoted(id), ")"));
    }
    return absl::OkStatus();
  }

  const ModelCatalog& catalog_;
  const FreezeOptions& options_;
  Models models_;
};

}  // namespace

absl::StatusOr<v1::SweepManifest> Freeze(const v1::SweepSpec& spec, const ModelCatalog& catalog, const FreezeOptions& options) {
  // Compiling first bounds depth and checks every range before anything walks the tree.
  PS_RETURN_IF_ERROR(CellTree::Compile(spec.cells()).status());
  return Freezer(catalog, options).Freeze(spec);
}

}  // namespace promptsweep::sweep
