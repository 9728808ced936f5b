#include "jobs/sweep/describe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/growth.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/plan.h"
#include "jobs/sweep/prompt_text.h"
#include "jobs/sweep/settings.h"

namespace promptsweep::sweep {
namespace {

constexpr uint64_t kCountExactly = 1'000'000;
constexpr int kSizedCells = 256;
constexpr int64_t kUnknownSide = 256;
constexpr int64_t kUnknownDimensions = 512;

uint64_t SaturatingAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<uint64_t>::max() : sum;
}

uint64_t SaturatingProduct(uint64_t a, double b) {
  double product = static_cast<double>(a) * b;
  return product >= 18446744073709551615.0 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(product);
}

uint64_t SizeOf(const v1::Axis& axis) { return axis.has_range() ? axis.range().count() : axis.list().values_size(); }

// Distinct values of axes of one name.
uint64_t Distinct(const std::vector<const v1::Axis*>& axes) {
  std::map<std::string, const v1::Axis*> different;
  for (const v1::Axis* axis : axes) different.emplace(axis->SerializeAsString(), axis);
  uint64_t total = 0;
  for (const auto& [bytes, axis] : different) total = SaturatingAdd(total, SizeOf(*axis));
  if (different.size() == 1 || total > kCountExactly) return total;
  absl::flat_hash_set<std::string> values;
  for (const auto& [bytes, axis] : different) {
    for (uint64_t k = 0; k < SizeOf(*axis); ++k) {
      v1::Value value;
      if (axis->has_range()) value.set_int_value(RangeValue(axis->range(), k));
      values.insert(CanonicalValue(axis->has_range() ? value : axis->list().values(static_cast<int>(k))));
    }
  }
  return values.size();
}

std::vector<AxisSize> AxesOf(const v1::CellNode& node) {
  std::map<std::pair<int, std::string>, std::vector<const v1::Axis*>> by_name;
  ForEachAxis(node, [&](const v1::Axis& axis) { by_name[{AxisRank(axis.name()), axis.name()}].push_back(&axis); });
  std::vector<AxisSize> sizes;
  for (const auto& [key, axes] : by_name) sizes.push_back({key.second, Distinct(axes)});
  return sizes;
}

std::vector<ModelSummary> Summaries(const google::protobuf::RepeatedPtrField<v1::ModelRef>& refs, const ModelCatalog& catalog,
                                    std::map<std::string, ModelFolder>& folders) {
  std::vector<ModelSummary> summaries;
  for (const v1::ModelRef& ref : refs) {
    ModelSummary& summary = summaries.emplace_back();
    summary.ref = ref;
    if (absl::StatusOr<ModelFolder> folder = catalog.Find(ref.id()); folder.ok()) {
      summary.found = true;
      summary.path = folder->path;
      folders[ref.id()] = *folder;
    }
  }
  return summaries;
}

// `count` ordinals evenly spaced over the sweep, neither end included where it can be helped.
std::vector<uint64_t> Spaced(uint64_t cells, int count) {
  std::vector<uint64_t> ordinals;
  for (int k = 1; k <= count; ++k) {
    uint64_t ordinal = static_cast<uint64_t>(static_cast<unsigned __int128>(cells) * k / (count + 1));
    if (ordinals.empty() || ordinals.back() != ordinal) ordinals.push_back(ordinal);
  }
  return ordinals;
}

double PixelsOf(const v1::Cell& cell, const std::map<std::string, ModelFolder>& folders) {
  auto folder = folders.find(cell.model());
  int64_t side = folder == folders.end() || folder->second.image_side == 0 ? kUnknownSide : folder->second.image_side;
  return static_cast<double>(IntSetting(cell, "width", side)) * static_cast<double>(IntSetting(cell, "height", side));
}

nlohmann::json AxesJson(const std::vector<AxisSize>& axes) {
  nlohmann::json json = nlohmann::json::array();
  for (const AxisSize& axis : axes) json.push_back({{"name", axis.name}, {"values", axis.values}});
  return json;
}

nlohmann::json ValueJson(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kIntValue:
      return value.int_value();
    case v1::Value::kDoubleValue:
      return value.double_value();
    case v1::Value::kBoolValue:
      return value.bool_value();
    default:
      return ValueText(value);
  }
}

nlohmann::json ModelsJson(const std::vector<ModelSummary>& models) {
  nlohmann::json json = nlohmann::json::array();
  for (const ModelSummary& model : models) {
    json.push_back({{"id", model.ref.id()},
                    {"architecture", model.ref.architecture()},
                    {"digest", ToHex(model.ref.digest())},
                    {"harmless", model.ref.harmless()},
                    {"path", model.path},
                    {"found", model.found}});
  }
  return json;
}

std::string Thousands(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string Cells(uint64_t count) { return absl::StrCat(Thousands(count), count == 1 ? " cell" : " cells"); }

std::string Bytes(uint64_t bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1000 && unit < 6; ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof(text), value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}

// A criterion that asks nothing is null.
nlohmann::json StopJson(const PlanSummary& summary) {
  if (!summary.has_stop) return nullptr;
  const v1::StopRule& rule = summary.stop;
  const auto asked = [](double value) { return value == 0 ? nlohmann::json() : nlohmann::json(value); };
  return {{"motif_ci_halfwidth", asked(rule.motif_ci_halfwidth())},
          {"decide_at", asked(rule.decide_at())},
          {"novelty", asked(rule.novelty())},
          {"least_prevalence", rule.least_prevalence()},
          {"error", rule.error()},
          {"growth", rule.growth()},
          {"least_cells", summary.cells},
          {"max_cells", rule.max_cells()},
          {"most_bytes", summary.most_bytes}};
}

std::string StopText(const PlanSummary& summary) {
  const v1::StopRule& rule = summary.stop;
  std::vector<std::string> asks;
  if (rule.motif_ci_halfwidth() > 0) asks.push_back(absl::StrCat("known to within ", NumberText(rule.motif_ci_halfwidth())));
  if (rule.decide_at() > 0) asks.push_back(absl::StrCat("decided against ", NumberText(rule.decide_at())));
  std::string text = "stops when ";
  if (!asks.empty()) {
    absl::StrAppend(&text, "every motif's share is ", absl::StrJoin(asks, " or "));
    if (rule.least_prevalence() > 0) absl::StrAppend(&text, " or surely below ", NumberText(rule.least_prevalence()));
  }
  if (rule.novelty() > 0)
    absl::StrAppend(&text, asks.empty() ? "" : " and ", "fewer than ", NumberText(rule.novelty()),
                    " of runs are unlike all before");
  absl::StrAppend(&text, " (error ", NumberText(rule.error()), " over all looks); else asks ", NumberText(rule.growth()),
                  " times the seeds\n");
  absl::StrAppend(&text, "cells: at least ", Thousands(summary.cells), ", at most ", Thousands(rule.max_cells()), " (about ",
                  Bytes(summary.most_bytes), ")\n");
  return text;
}

std::string AxesText(const std::vector<AxisSize>& axes) {
  return absl::StrJoin(
      axes, " x ", [](std::string* out, const AxisSize& axis) { absl::StrAppend(out, Thousands(axis.values), " ", axis.name); });
}

void AppendModels(std::string& text, absl::string_view heading, const std::vector<ModelSummary>& models) {
  for (const ModelSummary& model : models) {
    absl::StrAppend(&text, heading, " ", model.ref.id());
    if (!model.found) {
      absl::StrAppend(&text, ": not found\n");
      continue;
    }
    absl::StrAppend(&text, ": ", model.ref.architecture(), ", sha256 ", ToHex(model.ref.digest()).substr(0, 12), ", ",
                    model.path.empty() ? "built in" : model.path, "\n");
  }
}

void AppendCells(std::string& text, absl::string_view heading, const std::vector<v1::Cell>& cells) {
  for (const v1::Cell& cell : cells) {
    std::string prompt = PromptText(cell.prompt());
    absl::StrAppend(&text, heading, " ", cell.ordinal(), ": ", cell.model(), ", seed ", cell.seed(), ", ",
                    cell.prompt().has_blank() ? prompt : Quoted(prompt));
    for (const v1::Setting& setting : cell.settings())
      absl::StrAppend(&text, ", ", setting.name(), " ", ValueText(setting.value()));
    absl::StrAppend(&text, "\n");
  }
}

}  // namespace

absl::StatusOr<PlanSummary> Describe(const v1::SweepManifest& manifest, const ModelCatalog& catalog, int count) {
  PS_ASSIGN_OR_RETURN(Plan plan, Plan::FromManifest(manifest));
  const v1::CellNode& cells = manifest.spec().cells();
  PlanSummary summary;
  summary.name = manifest.spec().name();
  summary.digest = ToHex(ManifestDigest(manifest));
  summary.cells = plan.cell_count();
  summary.axes = AxesOf(cells);
  if (cells.has_chain()) {
    uint64_t first = 0;
    for (const v1::CellNode& part : cells.chain().parts()) {
      PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> tree, CellTree::Compile(part));
      summary.parts.push_back({first, tree->count(), AxesOf(part)});
      first += tree->count();
    }
  } else {
    summary.parts.push_back({0, plan.cell_count(), summary.axes});
  }

  const uint64_t edge = std::min<uint64_t>(plan.cell_count(), std::max(count, 0));
  auto add = [&](std::vector<v1::Cell>& list, uint64_t ordinal) -> absl::Status {
    PS_ASSIGN_OR_RETURN(v1::Cell cell, plan.CellAt(ordinal));
    list.push_back(std::move(cell));
    return absl::OkStatus();
  };
  for (uint64_t i = 0; i < edge; ++i) PS_RETURN_IF_ERROR(add(summary.first, i));
  const uint64_t last_begin = std::max(plan.cell_count() - edge, edge);
  for (uint64_t i = last_begin; i < plan.cell_count(); ++i) PS_RETURN_IF_ERROR(add(summary.last, i));
  for (uint64_t i : Spaced(plan.cell_count(), static_cast<int>(edge))) {
    if (i >= edge && i < last_begin) PS_RETURN_IF_ERROR(add(summary.sample, i));
  }

  std::map<std::string, ModelFolder> folders;
  summary.models = Summaries(manifest.models(), catalog, folders);
  summary.embedders = Summaries(manifest.embedders(), catalog, folders);
  summary.defaults = {manifest.spec().defaults().begin(), manifest.spec().defaults().end()};
  summary.noise_dtype = manifest.noise_dtype();
  summary.compute_dtype = manifest.compute_dtype();
  summary.images = manifest.spec().images();

  double pixels = 0;
  const std::vector<uint64_t> sized = Spaced(plan.cell_count(), kSizedCells);
  for (uint64_t i : sized) {
    PS_ASSIGN_OR_RETURN(v1::Cell cell, plan.CellAt(i));
    pixels += PixelsOf(cell, folders) / static_cast<double>(sized.size());
  }
  int64_t dimensions = 0;
  for (const ModelSummary& embedder : summary.embedders) {
    dimensions += embedder.found ? folders[embedder.ref.id()].dimensions : kUnknownDimensions;
  }
  summary.image_bytes = SaturatingProduct(plan.cell_count(), kSmallestImage + pixels * kBytesPerPixel);
  summary.embedding_bytes = SaturatingProduct(plan.cell_count(), 2.0 * static_cast<double>(dimensions));
  summary.record_bytes = SaturatingProduct(plan.cell_count(), static_cast<double>(kRecordBytes));
  if (manifest.spec().has_stop()) {
    summary.has_stop = true;
    summary.stop = WithDefaults(manifest.spec().stop(), plan.cell_count());
    summary.most_bytes = SaturatingProduct(summary.stop.max_cells(), kSmallestImage + pixels * kBytesPerPixel +
                                                                         2.0 * static_cast<double>(dimensions) + kRecordBytes);
  }
  return summary;
}

nlohmann::json CellJson(const v1::Cell& cell) {
  nlohmann::json settings = nlohmann::json::object();
  for (const v1::Setting& setting : cell.settings()) settings[setting.name()] = ValueJson(setting.value());
  nlohmann::json blank;
  if (cell.prompt().has_blank()) blank = BlankName(cell.prompt().blank());
  return {{"ordinal", cell.ordinal()}, {"model", cell.model()}, {"prompt", PromptText(cell.prompt())},     {"blank", blank},
          {"seed", cell.seed()},       {"settings", settings},  {"fingerprint", ToHex(cell.fingerprint())}};
}

nlohmann::json ToJson(const PlanSummary& summary) {
  nlohmann::json parts = nlohmann::json::array();
  for (const PartSummary& part : summary.parts) {
    parts.push_back({{"first", part.first}, {"cells", part.cells}, {"axes", AxesJson(part.axes)}});
  }
  auto cells = [](const std::vector<v1::Cell>& list) {
    nlohmann::json json = nlohmann::json::array();
    for (const v1::Cell& cell : list) json.push_back(CellJson(cell));
    return json;
  };
  nlohmann::json settings = nlohmann::json::object();
  for (const v1::Setting& setting : summary.defaults) settings[setting.name()] = ValueJson(setting.value());
  return {{"name", summary.name},
          {"digest", summary.digest},
          {"cells", summary.cells},
          {"axes", AxesJson(summary.axes)},
          {"parts", parts},
          {"first", cells(summary.first)},
          {"sample", cells(summary.sample)},
          {"last", cells(summary.last)},
          {"models", ModelsJson(summary.models)},
          {"embedders", ModelsJson(summary.embedders)},
          {"settings", settings},
          {"noise_dtype", summary.noise_dtype},
          {"compute_dtype", summary.compute_dtype},
          {"images", summary.images.empty() ? nlohmann::json() : nlohmann::json(summary.images)},
          {"stop", StopJson(summary)},
          {"bytes",
           {{"images", summary.image_bytes},
            {"embeddings", summary.embedding_bytes},
            {"records", summary.record_bytes},
            {"total", SaturatingAdd(SaturatingAdd(summary.image_bytes, summary.embedding_bytes), summary.record_bytes)}}}};
}

std::string ToText(const PlanSummary& summary) {
  std::string text =
      absl::StrCat("sweep ", summary.name, ": ", Cells(summary.cells), ", digest ", summary.digest.substr(0, 12), "\n");
  constexpr size_t kShownParts = 20;
  for (size_t p = 0; p < summary.parts.size() && p < kShownParts; ++p) {
    const PartSummary& part = summary.parts[p];
    absl::StrAppend(&text, "part ", p + 1, ": ", Thousands(part.cells), " from ", part.first, ": ", AxesText(part.axes), "\n");
  }
  if (summary.parts.size() > kShownParts) absl::StrAppend(&text, "... ", summary.parts.size() - kShownParts, " more parts\n");
  AppendModels(text, "model", summary.models);
  AppendModels(text, "embedder", summary.embedders);
  for (const v1::Setting& setting : summary.defaults) {
    absl::StrAppend(&text, "setting ", setting.name(), ": ", ValueText(setting.value()), "\n");
  }
  if (!summary.images.empty()) absl::StrAppend(&text, "images go to ", summary.images, "\n");
  absl::StrAppend(&text, "space: about ", Bytes(summary.image_bytes), " of images, ", Bytes(summary.embedding_bytes),
                  " of embeddings, ", Bytes(summary.record_bytes), " of records\n");
  if (summary.has_stop) text += StopText(summary);
  AppendCells(text, "first", summary.first);
  AppendCells(text, "sample", summary.sample);
  AppendCells(text, "last", summary.last);
  return text;
}

}  // namespace promptsweep::sweep
