#include "jobs/sweep/spec.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/blob_uri.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/axis_values.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/growth.h"
#include "jobs/sweep/limits.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_axis.h"
#include "jobs/sweep/settings.h"
#include "jobs/sweep/yaml.h"

namespace promptsweep::sweep {
namespace {

const std::vector<std::string>& Operators() {
  static const auto& names = *new std::vector<std::string>{"product", "zip", "chain", "exclude"};
  return names;
}

const std::vector<std::string>& AxisKeys() {
  static const auto& names = *[] {
    auto* all = new std::vector<std::string>{"model", "prompt", "seed"};
    all->insert(all->end(), AllSettingNames().begin(), AllSettingNames().end());
    return all;
  }();
  return names;
}

bool Contains(const std::vector<std::string>& names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class SpecReader {
 public:
  SpecReader(const YamlFile& file, const std::string& base_folder)
      : file_(file), prompts_(file, base_folder), axes_(file, loaded_.where) {}
  absl::StatusOr<LoadedSpec> Read();

 private:
  absl::Status ReadSettings(const YamlNode& node);
  absl::Status ReadEmbedders(const YamlNode& node);
  absl::Status ReadImages(const YamlNode& node);
  absl::Status ReadLimits(const YamlNode& node);
  absl::Status ReadStop(const YamlNode& node);

  absl::StatusOr<v1::CellNode> ReadNode(const YamlNode& node);
  absl::StatusOr<v1::CellNode> ReadOperator(const std::string& name, const YamlNode& key, const YamlNode& node);
  absl::StatusOr<v1::CellNode> ReadParts(const std::string& name, const YamlNode& node);
  absl::StatusOr<v1::CellNode> ReadExclude(const YamlNode& node);
  // Notes the last rule where it excludes nothing.
  void NoteIdle(const YamlNode& node, const v1::Exclude& exclude);
  absl::StatusOr<v1::ExcludeRule> ReadRule(const YamlNode& node, const v1::CellNode& from);

  absl::StatusOr<v1::Axis> ReadAxis(const std::string& name, const YamlNode& node);
  absl::StatusOr<v1::Condition> ReadCondition(const std::string& name, const YamlNode& node);
  absl::Status CheckComplete(const YamlNode& cells);

  const YamlFile& file_;
  LoadedSpec loaded_;
  PromptReader prompts_;
  AxisReader axes_;
};

absl::StatusOr<LoadedSpec> SpecReader::Read() {
  const YamlNode& root = file_.root;
  static const auto& known =
      *new std::vector<std::string>{"version", "name", "embedders", "cells", "settings", "vars", "images", "limits", "stop"};
  if (root.kind != YamlNode::kMap)
    return file_.Error(root, absl::StrCat("a spec is a map with version, name and cells, not ", root.KindName()));
  for (const YamlNode& key : root.keys) {
    if (!Contains(known, key.text))
      return file_.Error(key, absl::StrCat("unknown key ", Quoted(key.text), Hint(key.text, known)));
  }
  const YamlNode* version = root.Find("version");
  if (version == nullptr) return file_.Error(root, "key \"version\" is missing; write version: 1");
  if (version->text != "1") return file_.Error(*version, "version is not 1, the only one there is");
  loaded_.spec.set_version(1);
  const YamlNode* name = root.Find("name");
  if (name == nullptr) return file_.Error(root, "key \"name\" is missing");
  if (!IsName(name->text))
    return file_.Error(*name,
                       absl::StrCat("name ", Quoted(name->text), " is not of the form [a-z0-9][a-z0-9._-]*, at most 64 long"));
  loaded_.spec.set_name(name->text);
  if (const YamlNode* embedders = root.Find("embedders")) PS_RETURN_IF_ERROR(ReadEmbedders(*embedders));
  if (const YamlNode* images = root.Find("images")) PS_RETURN_IF_ERROR(ReadImages(*images));
  if (const YamlNode* limits = root.Find("limits")) PS_RETURN_IF_ERROR(ReadLimits(*limits));
  if (const YamlNode* settings = root.Find("settings")) PS_RETURN_IF_ERROR(ReadSettings(*settings));
  if (const YamlNode* vars = root.Find("vars")) PS_RETURN_IF_ERROR(prompts_.ReadVariables(*vars));
  const YamlNode* cells = root.Find("cells");
  if (cells == nullptr) return file_.Error(root, "key \"cells\" is missing");
  PS_ASSIGN_OR_RETURN(*loaded_.spec.mutable_cells(), ReadNode(*cells));
  PS_RETURN_IF_ERROR(CheckComplete(*cells));
  PutInOrder(*loaded_.spec.mutable_cells());
  if (const YamlNode* stop = root.Find("stop")) PS_RETURN_IF_ERROR(ReadStop(*stop));
  loaded_.where.emplace(std::pair("cells", ""), file_.Place(*cells));
  loaded_.files = prompts_.files();
  loaded_.notes.insert(loaded_.notes.end(), prompts_.notes().begin(), prompts_.notes().end());
  return std::move(loaded_);
}

absl::Status SpecReader::ReadEmbedders(const YamlNode& node) {
  std::vector<const YamlNode*> items = {&node};
  if (node.kind == YamlNode::kSequence) {
    items.clear();
    for (const YamlNode& item : node.items) items.push_back(&item);
  }
  if (items.empty()) return file_.Error(node, "embedders is empty; leave the key out to embed nothing");
  for (const YamlNode* item : items) {
    PS_ASSIGN_OR_RETURN(v1::Value value, axes_.ReadValue("embedder", *item));
    if (loaded_.where.contains({"embedders", CanonicalValue(value)})) {
      return file_.Error(*item, absl::StrCat("embedder ", Quoted(item->text), " appears twice"));
    }
    axes_.Remember("embedders", value, *item);
    loaded_.spec.add_embedders(value.string_value());
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadImages(const YamlNode& node) {
  if (node.kind != YamlNode::kScalar || node.IsNull()) {
    return file_.Error(
        node, "images is a place, as in s3://bucket/prefix or file:///folder; leave the key out to keep them in the store");
  }
  const absl::StatusOr<BlobUri> uri = ParseBlobUri(node.text);
  if (!uri.ok()) return file_.Error(node, absl::StrCat("images ", Quoted(node.text), ": ", uri.status().message()));
  loaded_.spec.set_images(uri->ToString());
  return absl::OkStatus();
}

absl::Status SpecReader::ReadSettings(const YamlNode& node) {
  if (node.kind != YamlNode::kMap) return file_.Error(node, "settings is a map of name: value");
  std::map<std::string, v1::Value> sorted;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    if (!Contains(AllSettingNames(), name)) {
      return file_.Error(node.keys[i], absl::StrCat("unknown setting ", Quoted(name), Hint(name, AllSettingNames())));
    }
    if (node.items[i].kind != YamlNode::kScalar) {
      return file_.Error(node.items[i],
                         absl::StrCat("setting \"", name, "\" takes one value here; several make an axis under cells"));
    }
    PS_ASSIGN_OR_RETURN(sorted[name], axes_.ReadValue(name, node.items[i]));
    axes_.Remember(name, sorted[name], node.items[i]);
  }
  for (auto& [name, value] : sorted) {
    v1::Setting& setting = *loaded_.spec.add_defaults();
    setting.set_name(name);
    *setting.mutable_value() = std::move(value);
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadLimits(const YamlNode& node) {
  static const auto& known = *new std::vector<std::string>{"priority", "max_parallel", "images", "gpu_hours", "fail_on_error"};
  if (node.kind != YamlNode::kMap)
    return file_.Error(node,
                       "limits is a map: {priority: 5, max_parallel: 8, images: 10000, gpu_hours: 2.5, fail_on_error: 0.01}");
  v1::SweepLimits& limits = loaded_.limits;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    const YamlNode& item = node.items[i];
    if (!Contains(known, name)) return file_.Error(node.keys[i], absl::StrCat("unknown limit ", Quoted(name), Hint(name, known)));
    if (item.kind != YamlNode::kScalar) return file_.Error(item, absl::StrCat(name, " takes one number, not ", item.KindName()));
    int32_t priority;
    uint32_t workers;
    uint64_t images;
    double number;
    if (item.quoted) {
      return file_.Error(item, absl::StrCat(name, " ", Quoted(item.text), " is text; write the number without quotes"));
    } else if (name == "priority" && absl::SimpleAtoi(item.text, &priority)) {
      limits.set_priority(priority);
    } else if (name == "max_parallel" && absl::SimpleAtoi(item.text, &workers)) {
      limits.set_max_parallel(workers);
    } else if (name == "images" && absl::SimpleAtoi(item.text, &images)) {
      limits.set_images(images);
    } else if (name == "gpu_hours" && absl::SimpleAtod(item.text, &number)) {
      limits.set_gpu_hours(number);
    } else if (name == "fail_on_error" && absl::SimpleAtod(item.text, &number)) {
      limits.set_fail_on_error(number);
    } else {
      const char* takes = name == "priority"       ? "a whole number from -1000 to 1000"
                          : name == "max_parallel" ? "a whole number of workers, 0 for any"
                          : name == "images"       ? "a whole number of images, 0 for any"
                          : name == "gpu_hours"    ? "a number of hours, 0 for any"
                                                   : "a share from 0 to 1 (0.01 is one cell in a hundred)";
      return file_.Error(item, absl::StrCat(name, " ", Quoted(item.text), " is not ", takes));
    }
    if (absl::Status status = CheckLimits(limits); !status.ok()) return file_.Error(item, status.message());
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadStop(const YamlNode& node) {
  static const auto& known = *new std::vector<std::string>{
      "motif_ci_halfwidth", "decide_at", "novelty", "least_prevalence", "error", "max_cells", "growth"};
  if (node.kind != YamlNode::kMap)
    return file_.Error(node, "stop is a map: {motif_ci_halfwidth: 0.01, least_prevalence: 0.005, max_cells: 20000}");
  v1::StopRule& rule = *loaded_.spec.mutable_stop();
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    const YamlNode& item = node.items[i];
    if (!Contains(known, name))
      return file_.Error(node.keys[i], absl::StrCat("unknown key ", Quoted(name), " in stop", Hint(name, known)));
    if (item.kind != YamlNode::kScalar || item.IsNull()) {
      return file_.Error(
          item, absl::StrCat(name, " takes one number, not ", item.IsNull() ? "nothing; leave the key out" : item.KindName()));
    }
    if (item.quoted) {
      return file_.Error(item, absl::StrCat(name, " ", Quoted(item.text), " is text; write the number without quotes"));
    }
    if (name == "max_cells") {
      uint64_t cells;
      if (!absl::SimpleAtoi(item.text, &cells) || cells == 0)
        return file_.Error(item, absl::StrCat("max_cells ", Quoted(item.text), " is not a whole number of cells, at least 1"));
      rule.set_max_cells(cells);
      continue;
    }
    double number;
    // 0 is how the rule says that a key was not given.
    if (!absl::SimpleAtod(item.text, &number) || (number == 0 && name != "least_prevalence"))
      return file_.Error(item, absl::StrCat(name, " ", Quoted(item.text), " is not a number above 0"));
    const google::protobuf::Reflection& fields = *rule.GetReflection();
    fields.SetDouble(&rule, rule.GetDescriptor()->FindFieldByName(name), number);
    // A rule that asks something else as well, so that only this number is judged.
    v1::StopRule alone;
    alone.set_novelty(0.5);
    fields.SetDouble(&alone, rule.GetDescriptor()->FindFieldByName(name), number);
    if (absl::Status status = CheckStopRule(alone); !status.ok()) return file_.Error(item, status.message());
  }
  PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> tree, CellTree::Compile(loaded_.spec.cells()));
  const YamlNode* most = node.Find("max_cells");
  const bool below = most != nullptr && rule.max_cells() < tree->count();
  if (absl::Status status = CheckStop(loaded_.spec, tree->count()); !status.ok())
    return file_.Error(below ? *most : node, status.message());
  return absl::OkStatus();
}

absl::StatusOr<v1::CellNode> SpecReader::ReadNode(const YamlNode& node) {
  if (node.kind != YamlNode::kMap || node.keys.empty()) {
    return file_.Error(node, "cells are a map of axes (model, prompt, seed, ...) or of product, zip, chain, exclude");
  }
  std::vector<v1::CellNode> factors;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    v1::CellNode& factor = factors.emplace_back();
    if (Contains(Operators(), name)) {
      PS_ASSIGN_OR_RETURN(factor, ReadOperator(name, node.keys[i], node.items[i]));
    } else if (Contains(AxisKeys(), name)) {
      PS_ASSIGN_OR_RETURN(*factor.mutable_axis(), ReadAxis(name, node.items[i]));
    } else {
      std::vector<std::string> known = AxisKeys();
      known.insert(known.end(), Operators().begin(), Operators().end());
      return file_.Error(node.keys[i], absl::StrCat("unknown axis ", Quoted(name), Hint(name, known)));
    }
  }
  if (factors.size() == 1) return std::move(factors[0]);
  v1::CellNode product;
  for (v1::CellNode& factor : factors) *product.mutable_product()->add_factors() = std::move(factor);
  absl::StatusOr<std::unique_ptr<const CellTree>> tree = CellTree::Compile(product);
  if (!tree.ok()) return file_.Error(node, tree.status().message());
  return product;
}

absl::StatusOr<v1::CellNode> SpecReader::ReadOperator(const std::string& name, const YamlNode& key, const YamlNode& node) {
  absl::StatusOr<v1::CellNode> result = name == "exclude" ? ReadExclude(node) : ReadParts(name, node);
  PS_RETURN_IF_ERROR(result.status());
  absl::StatusOr<std::unique_ptr<const CellTree>> tree = CellTree::Compile(*result);
  if (!tree.ok()) return file_.Error(key, tree.status().message());
  return result;
}

absl::StatusOr<v1::CellNode> SpecReader::ReadParts(const std::string& name, const YamlNode& node) {
  std::vector<v1::CellNode> parts;
  if (node.kind == YamlNode::kSequence) {
    for (const YamlNode& item : node.items) {
      PS_ASSIGN_OR_RETURN(v1::CellNode part, ReadNode(item));
      parts.push_back(std::move(part));
    }
  } else if (node.kind == YamlNode::kMap && name != "chain") {
    for (size_t i = 0; i < node.keys.size(); ++i) {
      YamlNode single;
      single.kind = YamlNode::kMap;
      single.line = node.keys[i].line;
      single.column = node.keys[i].column;
      single.keys = {node.keys[i]};
      single.items = {node.items[i]};
      PS_ASSIGN_OR_RETURN(v1::CellNode part, ReadNode(single));
      parts.push_back(std::move(part));
    }
  } else {
    return file_.Error(
        node, name == "chain" ? "chain takes a list of parts" : absl::StrCat(name, " takes a map of axes or a list of parts"));
  }
  if (parts.empty()) return file_.Error(node, absl::StrCat(name, " is empty"));
  v1::CellNode result;
  auto& target = name == "product" ? *result.mutable_product()->mutable_factors()
                 : name == "zip"   ? *result.mutable_zip()->mutable_parts()
                                   : *result.mutable_chain()->mutable_parts();
  for (v1::CellNode& part : parts) *target.Add() = std::move(part);
  return result;
}

absl::StatusOr<v1::CellNode> SpecReader::ReadExclude(const YamlNode& node) {
  static const auto& known = *new std::vector<std::string>{"from", "rules"};
  constexpr char kForm[] = "exclude takes {from: cells, rules: [{axis: values, ...}, ...]}";
  if (node.kind != YamlNode::kMap) return file_.Error(node, kForm);
  for (const YamlNode& key : node.keys) {
    if (!Contains(known, key.text))
      return file_.Error(key, absl::StrCat("unknown key ", Quoted(key.text), " in exclude", Hint(key.text, known)));
  }
  const YamlNode *from = node.Find("from"), *rules = node.Find("rules");
  if (from == nullptr || rules == nullptr) return file_.Error(node, kForm);
  v1::CellNode result;
  PS_ASSIGN_OR_RETURN(*result.mutable_exclude()->mutable_from(), ReadNode(*from));
  if (rules->kind != YamlNode::kSequence || rules->items.empty())
    return file_.Error(*rules, "rules is a list with at least one rule");
  if (rules->items.size() > kMaxRules)
    return file_.Error(rules->items[kMaxRules], absl::StrCat("more than ", kMaxRules, " rules"));
  for (const YamlNode& rule : rules->items) {
    PS_ASSIGN_OR_RETURN(*result.mutable_exclude()->add_rules(), ReadRule(rule, result.exclude().from()));
    NoteIdle(rule, result.exclude());
  }
  return result;
}

void SpecReader::NoteIdle(const YamlNode& node, const v1::Exclude& exclude) {
  v1::CellNode alone;
  *alone.mutable_exclude()->mutable_from() = exclude.from();
  *alone.mutable_exclude()->add_rules() = *exclude.rules().rbegin();
  const auto from = CellTree::Compile(exclude.from()), left = CellTree::Compile(alone);
  if (from.ok() && left.ok() && (*left)->count() == (*from)->count())
    loaded_.notes.push_back(absl::StrCat(file_.Place(node), ": this rule excludes no cell"));
}

absl::StatusOr<v1::ExcludeRule> SpecReader::ReadRule(const YamlNode& node, const v1::CellNode& from) {
  if (node.kind != YamlNode::kMap || node.keys.empty())
    return file_.Error(node, "a rule is a map of axis: value or axis: [values]");
  std::vector<std::string> axes;
  ForEachAxis(from, [&](const v1::Axis& axis) { axes.push_back(axis.name()); });
  v1::ExcludeRule rule;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    if (!Contains(axes, name))
      return file_.Error(node.keys[i], absl::StrCat("the excluded cells have no axis ", Quoted(name), Hint(name, axes)));
    PS_ASSIGN_OR_RETURN(*rule.add_all_of(), ReadCondition(name, node.items[i]));
  }
  return rule;
}

absl::StatusOr<v1::Axis> SpecReader::ReadAxis(const std::string& name, const YamlNode& node) {
  if (name != "prompt") return axes_.ReadAxis(name, node);
  v1::Axis axis;
  axis.set_name(name);
  PS_ASSIGN_OR_RETURN(*axis.mutable_list(), prompts_.ReadPrompts(node));
  return axis;
}

absl::StatusOr<v1::Condition> SpecReader::ReadCondition(const std::string& name, const YamlNode& node) {
  if (name != "prompt") return axes_.ReadCondition(name, node);
  v1::Condition condition;
  condition.set_axis(name);
  PS_ASSIGN_OR_RETURN(*condition.mutable_any_of(), prompts_.ReadPrompts(node));
  return condition;
}

absl::Status SpecReader::CheckComplete(const YamlNode& cells) {
  const v1::CellNode& root = loaded_.spec.cells();
  PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> tree, CellTree::Compile(root));
  for (const char* axis : {"model", "prompt", "seed"}) {
    if (tree->AlwaysHasAxis(axis)) continue;
    const std::string hint = axis == std::string("prompt") ? "; the blank prompt is written prompt: {blank: empty}" : "";
    const YamlNode* chain = cells.Find("chain");
    for (int part = 0; root.has_chain() && chain != nullptr && part < root.chain().parts_size(); ++part) {
      PS_ASSIGN_OR_RETURN(std::unique_ptr<const CellTree> compiled, CellTree::Compile(root.chain().parts(part)));
      if (!compiled->AlwaysHasAxis(axis))
        return file_.Error(chain->items[part], absl::StrCat("this part has cells without a ", axis, hint));
    }
    return file_.Error(cells, absl::StrCat("some cell has no ", axis, ": every cell needs model, prompt and seed", hint));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadedSpec> ParseSpec(const std::string& text, const std::string& file_name, const std::string& base_folder) {
  PS_ASSIGN_OR_RETURN(YamlFile file, ParseYaml(text, file_name));
  return SpecReader(file, base_folder).Read();
}

absl::StatusOr<LoadedSpec> LoadSpec(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status kind = std::filesystem::status(path, error);
  if (!std::filesystem::exists(kind)) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  if (!std::filesystem::is_regular_file(kind)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));
  std::ifstream stream(path, std::ios::binary);
  std::string text(kMaxSpecBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.eof() && stream.fail()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  text.resize(static_cast<size_t>(stream.gcount()));
  return ParseSpec(text, path, std::filesystem::path(path).parent_path().string());
}

}  // namespace promptsweep::sweep
