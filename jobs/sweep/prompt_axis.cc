#include "jobs/sweep/prompt_axis.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_text.h"
#include "jobs/sweep/spec.h"
#include "jobs/sweep/template.h"

namespace promptsweep::sweep {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTextBytes = 64 << 20;   // all prompts of a spec
constexpr uint64_t kMaxFileBytes = 256 << 20;  // all files of a spec
constexpr char kWildcardFolder[] = "wildcards";
constexpr char kSayBlank[] = "a prompt that says nothing is written {blank: empty} (or whitespace, padding, null)";

const std::vector<std::string>& BlankNames() {
  static const auto& names = *new std::vector<std::string>{"empty", "whitespace", "padding", "null"};
  return names;
}

// `; did you mean "x"?` for a file of the same folder, or nothing.
std::string NearestFile(const fs::path& path) {
  constexpr size_t kLookedAt = 1000;
  std::vector<std::string> names;
  std::error_code error;
  const fs::path folder = path.parent_path();
  fs::directory_iterator at(folder.empty() ? "." : folder, error), end;
  for (; !error && at != end && names.size() < kLookedAt; at.increment(error)) names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  const std::string nearest = Nearest(path.filename().string(), names);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", Quoted((folder / nearest).string()), "?");
}

}  // namespace

absl::StatusOr<v1::ValueList> PromptReader::ReadPrompts(const YamlNode& node) {
  Axis axis;
  if (node.kind == YamlNode::kSequence) {
    if (node.items.empty()) return file_.Error(node, "axis \"prompt\" is empty");
    for (const YamlNode& item : node.items) PS_RETURN_IF_ERROR(ReadItem(item, axis));
  } else {
    PS_RETURN_IF_ERROR(ReadItem(node, axis));
  }
  return std::move(axis.values);
}

absl::Status PromptReader::ReadItem(const YamlNode& node, Axis& axis) {
  if (node.kind == YamlNode::kScalar) {
    if (node.IsNull() || node.text.empty()) return file_.Error(node, kSayBlank);
    NoteTemplate(node.text, file_.Place(node));
    v1::Prompt prompt;
    prompt.set_text(node.text);
    return Add(std::move(prompt), file_.Place(node), axis);
  }
  if (node.kind == YamlNode::kSequence) return file_.Error(node, "a list inside a list of prompts");
  const std::vector<std::string> kinds = {"blank", "file", "template", "vars"};
  for (const YamlNode& key : node.keys) {
    if (std::find(kinds.begin(), kinds.end(), key.text) == kinds.end()) {
      return file_.Error(key, absl::StrCat("unknown key ", Quoted(key.text), " in a prompt", Hint(key.text, kinds)));
    }
  }
  const YamlNode *blank = node.Find("blank"), *file = node.Find("file"), *text = node.Find("template"), *vars = node.Find("vars");
  if ((blank != nullptr) + (file != nullptr) + (text != nullptr) != 1) {
    return file_.Error(node, "a prompt is text, {blank: kind}, {file: path} or {template: text, vars: {...}}: one of them");
  }
  if (vars != nullptr && text == nullptr) return file_.Error(*vars, "vars belong to a template");
  if (blank != nullptr) return ReadBlank(*blank, axis);
  if (file != nullptr) return ReadFile(*file, axis);
  Variables variables;
  if (vars != nullptr) PS_RETURN_IF_ERROR(ReadVariableMap(*vars, variables));
  return ReadTemplates(*text, variables, axis);
}

void PromptReader::NoteTemplate(const std::string& text, const std::string& place) {
  if (!notes_.empty() || !LooksLikeTemplate(text)) return;
  notes_.push_back(absl::StrCat(place, ": ", Quoted(text), " is asked as it is written; {template: ...} would expand it"));
}

absl::Status PromptReader::ReadBlank(const YamlNode& node, Axis& axis) {
  if (node.kind == YamlNode::kMap) return file_.Error(node, "blank takes empty, whitespace, padding or null");
  if (node.kind == YamlNode::kSequence) {
    if (node.items.empty()) return file_.Error(node, "blank is an empty list");
    for (const YamlNode& item : node.items) {
      if (item.kind != YamlNode::kScalar) return file_.Error(item, "blank takes empty, whitespace, padding or null");
      PS_RETURN_IF_ERROR(ReadBlank(item, axis));
    }
    return absl::OkStatus();
  }
  v1::Prompt prompt;
  prompt.set_blank(BlankOfName(node.text));
  if (prompt.blank() == v1::BLANK_KIND_UNSPECIFIED) {
    return file_.Error(node, absl::StrCat("unknown blank ", Quoted(node.text), Hint(node.text, BlankNames())));
  }
  return Add(std::move(prompt), file_.Place(node), axis);
}

absl::Status PromptReader::ReadFile(const YamlNode& node, Axis& axis) {
  if (node.kind != YamlNode::kScalar || node.text.empty()) return file_.Error(node, "file takes one path");
  PS_ASSIGN_OR_RETURN(const List* list, Lines(node, node.text));
  for (const Line& line : list->lines) {
    const std::string place = absl::StrCat(list->path, ":", line.number, ":1");
    NoteTemplate(line.text, place);
    v1::Prompt prompt;
    prompt.set_text(line.text);
    PS_RETURN_IF_ERROR(Add(std::move(prompt), place, axis));
  }
  return absl::OkStatus();
}

absl::Status PromptReader::ReadTemplates(const YamlNode& node, const Variables& variables, Axis& axis) {
  std::vector<const YamlNode*> templates = {&node};
  if (node.kind == YamlNode::kSequence) {
    if (node.items.empty()) return file_.Error(node, "template is an empty list");
    templates.clear();
    for (const YamlNode& item : node.items) templates.push_back(&item);
  }
  std::set<std::string> used;
  for (const YamlNode* text : templates) {
    if (text->kind != YamlNode::kScalar || text->text.empty()) return file_.Error(*text, "a template is text");
    auto values = [&](const std::string& name, bool wildcard) -> absl::StatusOr<const std::vector<std::string>*> {
      if (wildcard) {
        PS_ASSIGN_OR_RETURN(const List* list, Lines(*text, absl::StrCat(kWildcardFolder, "/", name, ".txt")));
        return &list->texts;
      }
      used.insert(name);
      if (auto own = variables.find(name); own != variables.end()) return &own->second;
      if (auto shared = variables_.find(name); shared != variables_.end()) return &shared->second;
      std::vector<std::string> known;
      for (const auto& [known_name, list] : variables) known.push_back(known_name);
      for (const auto& [known_name, list] : variables_) known.push_back(known_name);
      return file_.Error(*text, absl::StrCat("unknown variable ", Quoted(name), Hint(name, known)));
    };
    absl::Status status = ExpandTemplate(text->text, values, [&](const std::string& expanded) {
      if (expanded.empty()) return file_.Error(*text, absl::StrCat("the template gives an empty prompt; ", kSayBlank));
      v1::Prompt prompt;
      prompt.set_text(expanded);
      return Add(std::move(prompt), file_.Place(*text), axis);
    });
    if (!status.ok() && absl::StartsWith(status.message(), "template, ")) return file_.Error(*text, status.message());
    PS_RETURN_IF_ERROR(status);
  }
  for (const auto& [name, list] : variables) {
    if (!used.contains(name))
      return file_.Error(node, absl::StrCat("variable ", Quoted(name), " is in no template of this prompt"));
  }
  return absl::OkStatus();
}

absl::Status PromptReader::Add(v1::Prompt prompt, const std::string& place, Axis& axis) {
  auto error = [&](const std::string& what) { return absl::InvalidArgumentError(absl::StrCat(place, ": ", what)); };
  const std::string shown = prompt.has_blank() ? PromptText(prompt) : Quoted(prompt.text());
  if (prompt.has_text()) {
    if (LooksBlank(prompt.text())) {
      return error(
          "a prompt of nothing but spaces or invisible characters; write {blank: whitespace} for one space, {blank: empty} for "
          "nothing");
    }
    if (prompt.text().size() > kMaxPromptBytes)
      return error(absl::StrCat("a prompt of ", prompt.text().size(), " bytes; at most ", kMaxPromptBytes));
  }
  bytes_ += prompt.text().size();
  if (++prompts_ > kMaxPrompts) return error(absl::StrCat("more than ", kMaxPrompts, " prompts; split the sweep"));
  if (bytes_ > kMaxTextBytes) return error(absl::StrCat("prompts of more than ", kMaxTextBytes >> 20, " MB; split the sweep"));
  v1::Value value;
  *value.mutable_prompt_value() = std::move(prompt);
  auto [first, fresh] = axis.places.emplace(CanonicalValue(value), place);
  if (!fresh) return error(absl::StrCat("prompt ", shown, " appears twice (first at ", first->second, ")"));
  *axis.values.add_values() = std::move(value);
  return absl::OkStatus();
}

absl::Status PromptReader::ReadVariables(const YamlNode& node) { return ReadVariableMap(node, variables_); }

absl::Status PromptReader::ReadVariableMap(const YamlNode& node, Variables& variables) {
  if (node.kind != YamlNode::kMap) return file_.Error(node, "vars is a map of name: [values] or name: {file: path}");
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    if (!IsIdentifier(name))
      return file_.Error(node.keys[i], absl::StrCat("variable name ", Quoted(name), " is not [a-z][a-z0-9_]*"));
    PS_ASSIGN_OR_RETURN(variables[name], ReadVariable(node.items[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PromptReader::ReadVariable(const YamlNode& node) {
  constexpr char kNoValue[] = "a variable without a value; a word that YAML reads as null goes in quotes";
  if (node.IsNull()) return file_.Error(node, kNoValue);
  if (node.kind == YamlNode::kScalar) return std::vector<std::string>{node.text};
  std::vector<std::string> values;
  if (node.kind == YamlNode::kMap) {
    const YamlNode* file = node.Find("file");
    if (file == nullptr || node.keys.size() != 1 || file->kind != YamlNode::kScalar) {
      return file_.Error(node, "a variable is a value, a list or {file: path}");
    }
    PS_ASSIGN_OR_RETURN(const List* list, Lines(*file, file->text));
    return list->texts;
  }
  if (node.items.empty()) return file_.Error(node, "a variable without values");
  std::set<std::string> seen;
  for (const YamlNode& item : node.items) {
    if (item.kind != YamlNode::kScalar) return file_.Error(item, "a variable's values are single values");
    if (item.IsNull()) return file_.Error(item, kNoValue);
    if (!seen.insert(item.text).second) return file_.Error(item, absl::StrCat("value ", Quoted(item.text), " appears twice"));
    values.push_back(item.text);
  }
  return values;
}

absl::StatusOr<const PromptReader::List*> PromptReader::Lines(const YamlNode& at, const std::string& name) {
  if (auto known = lists_.find(name); known != lists_.end()) return &known->second;
  List list;
  list.path = fs::path(name).is_absolute() ? name : (fs::path(base_folder_) / name).lexically_normal().string();
  std::error_code error;
  const fs::file_status kind = fs::status(list.path, error);
  if (!fs::is_regular_file(kind)) {
    return file_.Error(at, absl::StrCat("file ", Quoted(list.path),
                                        fs::exists(kind) ? " is not a file" : " does not exist" + NearestFile(list.path)));
  }
  const uint64_t size = fs::file_size(list.path, error);
  if (error || size > kMaxListBytes || (file_bytes_ += size) > kMaxFileBytes) {
    return file_.Error(
        at, absl::StrCat("file ", Quoted(list.path), " is over ", kMaxListBytes >> 20, " MB, or all files together are"));
  }
  std::string text(size, '\0');
  std::ifstream stream(list.path, std::ios::binary);
  if (!stream.read(text.data(), static_cast<std::streamsize>(size)))
    return file_.Error(at, absl::StrCat("file ", Quoted(list.path), " cannot be read"));

  auto bad = [&](int number, size_t column, const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat(list.path, ":", number, ":", column + 1, ": ", what, " (read by ", file_.Place(at), ")"));
  };
  absl::string_view rest = text;
  absl::ConsumePrefix(&rest, "\xEF\xBB\xBF");
  absl::ConsumeSuffix(&rest, "\n");
  int number = 0;
  for (absl::string_view line : absl::StrSplit(rest, '\n')) {
    ++number;
    absl::ConsumeSuffix(&line, "\r");
    size_t offset = 0;
    if (!IsUtf8Text(line, &offset)) return bad(number, offset, line[offset] == '\0' ? "a NUL byte" : "not UTF-8");
    if (absl::StartsWith(line, "# ")) continue;
    if (rest.empty()) break;
    if (LooksBlank(line)) {
      return bad(number, 0, "a blank line; to ask the blank prompt, write {blank: empty} in the spec, else remove it");
    }
    if (size_t at = line.find('\r'); at != absl::string_view::npos) {
      return bad(number, at, "a carriage return inside a line; lines end with a line feed");
    }
    list.lines.push_back({number, std::string(line)});
    list.texts.emplace_back(line);
    if (list.lines.size() > kMaxPrompts) return bad(number, 0, absl::StrCat("more than ", kMaxPrompts, " lines"));
  }
  if (list.lines.empty()) return file_.Error(at, absl::StrCat("file ", Quoted(list.path), " has no lines"));
  files_.push_back(list.path);
  return &lists_.emplace(name, std::move(list)).first->second;
}

}  // namespace promptsweep::sweep
