#include "jobs/sweep/plan.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <map>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/growth.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {

std::string ManifestDigest(const v1::SweepManifest& manifest) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    PS_CHECK(manifest.SerializeToCodedStream(&coded)) << "manifest does not serialise";
  }
  return Sha256Of(bytes);
}

struct Plan::Impl {
  v1::SweepManifest manifest;
  std::unique_ptr<const CellTree> tree;  // refers to manifest
  absl::flat_hash_map<std::string, const v1::ModelRef*> models;
};

namespace {

absl::Status CheckDefaults(const v1::SweepSpec& spec) {
  const std::string* previous = nullptr;
  for (const v1::Setting& setting : spec.defaults()) {
    if (!IsIdentifier(setting.name()) || setting.name() == "model" || setting.name() == "prompt" || setting.name() == "seed") {
      return absl::InvalidArgumentError(absl::StrCat(Quoted(setting.name()), " cannot be a default setting"));
    }
    if (previous != nullptr && *previous >= setting.name()) {
      return absl::InvalidArgumentError("default settings are not sorted by name, or one is named twice");
    }
    if (setting.value().kind_case() == v1::Value::KIND_NOT_SET || setting.value().has_prompt_value()) {
      return absl::InvalidArgumentError(absl::StrCat("default setting \"", setting.name(), "\" has no value"));
    }
    previous = &setting.name();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Plan> Plan::FromManifest(const v1::SweepManifest& manifest) {
  auto impl = std::make_shared<Impl>();
  impl->manifest = manifest;
  PS_ASSIGN_OR_RETURN(impl->tree, CellTree::Compile(impl->manifest.spec().cells()));
  for (const char* axis : {"model", "prompt", "seed"}) {
    if (!impl->tree->AlwaysHasAxis(axis))
      return absl::InvalidArgumentError(absl::StrCat("some cell has no ", axis, ": every cell needs one"));
  }
  if (impl->tree->count() != manifest.cell_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the manifest states ", manifest.cell_count(), " cells, its algebra has ", impl->tree->count()));
  }
  PS_RETURN_IF_ERROR(CheckDefaults(impl->manifest.spec()));
  PS_RETURN_IF_ERROR(CheckStop(impl->manifest.spec(), impl->tree->count()));
  for (const v1::ModelRef& model : impl->manifest.models()) {
    if (!impl->models.emplace(model.id(), &model).second) {
      return absl::InvalidArgumentError(absl::StrCat("the manifest names model ", Quoted(model.id()), " twice"));
    }
    if (!model.digest().empty() && model.digest().size() != kDigestSize) {
      return absl::InvalidArgumentError(absl::StrCat("the digest of model ", Quoted(model.id()), " is not 32 bytes"));
    }
  }
  absl::Status known = absl::OkStatus();
  ForEachAxis(impl->manifest.spec().cells(), [&](const v1::Axis& axis) {
    if (axis.name() != "model") return;
    for (const v1::Value& value : axis.list().values()) {
      if (known.ok() && !impl->models.contains(value.string_value())) {
        known = absl::InvalidArgumentError(
            absl::StrCat("model ", Quoted(value.string_value()), " is asked for but not in the manifest"));
      }
    }
  });
  PS_RETURN_IF_ERROR(known);
  return Plan(std::move(impl));
}

uint64_t Plan::cell_count() const { return impl_->tree->count(); }
const v1::SweepManifest& Plan::manifest() const { return impl_->manifest; }

absl::StatusOr<v1::Cell> Plan::CellAt(uint64_t ordinal) const {
  if (ordinal >= cell_count()) {
    return absl::OutOfRangeError(absl::StrCat("cell ", ordinal, " of a sweep of ", cell_count(), " cells"));
  }
  v1::Cell cell;
  cell.set_ordinal(ordinal);
  std::map<std::string, v1::Value> settings;
  for (const v1::Setting& setting : impl_->manifest.spec().defaults()) settings[setting.name()] = setting.value();
  impl_->tree->Visit(ordinal, [&](const std::string& axis, const v1::Value& value) {
    if (axis == "model") {
      cell.set_model(value.string_value());
    } else if (axis == "prompt") {
      *cell.mutable_prompt() = value.prompt_value();
    } else if (axis == "seed") {
      cell.set_seed(value.int_value());
    } else {
      settings[axis] = value;
    }
  });
  for (auto& [name, value] : settings) {
    v1::Setting& setting = *cell.add_settings();
    setting.set_name(name);
    setting.mutable_value()->Swap(&value);
  }
  const std::string& digest = impl_->models.find(cell.model())->second->digest();
  if (!digest.empty()) {
    cell.set_fingerprint(CellFingerprint(cell, digest, impl_->manifest.noise_dtype(), impl_->manifest.compute_dtype()));
  }
  return cell;
}

const std::string& Plan::ModelAt(uint64_t ordinal) const {
  PS_CHECK(ordinal < cell_count()) << ordinal;
  return impl_->tree->Model(ordinal);
}

uint64_t Plan::SameModelEnd(uint64_t begin, uint64_t limit) const {
  limit = std::min(limit, cell_count());
  if (begin >= limit) return begin;
  const std::string& model = ModelAt(begin);
  uint64_t end = begin;
  do {
    end = impl_->tree->one_model() ? cell_count() : impl_->tree->ModelRunEnd(end);
  } while (end < limit && impl_->tree->Model(end) == model);
  return std::min(end, limit);
}

}  // namespace promptsweep::sweep
