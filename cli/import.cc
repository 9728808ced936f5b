#include "cli/import.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "cli/rows.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::cli {
namespace {

constexpr char kModel[] = "imported";

void AddAxis(v1::Product& product, const std::string& name, v1::Value value) {
  v1::Axis& axis = *product.add_factors()->mutable_axis();
  axis.set_name(name);
  *axis.mutable_list()->add_values() = std::move(value);
}

// "Guidance Scale" -> "guidance_scale": the names that filters understand.
std::string AxisNameOf(absl::string_view column) {
  std::string name;
  for (char c : column) name += absl::ascii_isalnum(c) ? absl::ascii_tolower(c) : '_';
  if (!name.empty() && !absl::ascii_islower(name[0])) name = "c_" + name;
  return name;
}

const std::set<std::string>& ComputedColumns() {
  static const std::set<std::string>* const names = [] {
    auto* set = new std::set<std::string>;
    for (const Column& column : ResultColumns({})) set->insert(column.name);
    for (const char* own : {"model", "prompt", "seed"}) set->erase(own);
    return set;
  }();
  return *names;
}

bool IsInt(const std::string& text) {
  int64_t value;
  return !text.empty() && text[0] != '+' && !absl::ascii_isspace(text[0]) && absl::SimpleAtoi(text, &value);
}

// A seed; "12.0" is how a table with gaps in the column writes 12.
std::optional<int64_t> SeedOf(absl::string_view text) {
  if (absl::EndsWith(text, ".0")) text.remove_suffix(2);
  int64_t value;
  if (!IsInt(std::string(text)) || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

bool IsNumber(const std::string& text) {
  double value;
  return !text.empty() && text[0] != '+' && !absl::ascii_isspace(text[0]) && absl::SimpleAtod(text, &value) &&
         std::isfinite(value);
}

absl::StatusOr<v1::Prompt> PromptOf(const std::string& field) {
  v1::Prompt blank;
  blank.set_blank(v1::BLANK_KIND_EMPTY);
  if (field.empty()) return blank;
  return sweep::ParsePromptText(CsvUnguard(field));
}

}  // namespace

std::string NameOfPath(const std::string& path) {
  constexpr size_t kMaxName = 64;
  std::error_code error;
  const std::filesystem::path clean = std::filesystem::absolute(path, error).lexically_normal();
  std::filesystem::path last = clean.has_filename() ? clean.filename() : clean.parent_path().filename();
  if (last.extension() == ".npy" || last.extension() == ".parquet") last = last.stem();
  std::string name;
  for (char c : absl::AsciiStrToLower(last.string())) {
    const bool allowed = absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
    if (name.empty() && !absl::ascii_isalnum(c)) continue;
    if (name.size() < kMaxName) name += allowed ? c : '-';
  }
  return name.empty() ? kModel : name;
}

v1::SweepManifest ImportManifest(const std::string& name, uint64_t rows, const std::vector<v1::ModelRef>& embedders,
                                 const std::string& imported_from, const std::string& content) {
  v1::SweepManifest manifest;
  manifest.mutable_spec()->set_version(1);
  manifest.mutable_spec()->set_name(name);
  for (const v1::ModelRef& embedder : embedders) manifest.mutable_spec()->add_embedders(embedder.id());
  v1::Product& product = *manifest.mutable_spec()->mutable_cells()->mutable_product();
  v1::Value value;
  value.set_string_value(kModel);
  AddAxis(product, "model", value);
  v1::Axis& row = *product.add_factors()->mutable_axis();
  row.set_name("row");
  row.mutable_range()->set_first(0);
  row.mutable_range()->set_step(1);
  row.mutable_range()->set_count(rows);
  value.mutable_prompt_value()->set_text(kModel);
  AddAxis(product, "prompt", value);
  value.set_int_value(0);
  AddAxis(product, "seed", value);
  v1::ModelRef& model = *manifest.add_models();
  model.set_id(kModel);
  model.set_architecture("imported");
  model.set_digest(content);
  for (const v1::ModelRef& embedder : embedders) *manifest.add_embedders() = embedder;
  manifest.set_cell_count(rows);
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  manifest.set_imported_from(imported_from);
  return manifest;
}

absl::StatusOr<ImportedRows> ImportedRows::FromCsv(CsvFile csv, const std::string& file) {
  ImportedRows rows;
  std::set<std::string> names;
  std::vector<std::string> header;
  for (const std::string& column : csv.header) header.push_back(AxisNameOf(column));
  for (const char* name : {"file", "file_name", "filename", "image", "path"}) {
    const auto at = std::find(header.begin(), header.end(), name);
    if (!rows.file_column_ && at != header.end()) rows.file_column_ = at - header.begin();
  }
  const bool was_exported = std::find(header.begin(), header.end(), kImportedFile) != header.end();
  for (size_t i = 0; i < csv.header.size(); ++i) {
    Kept kept{AxisNameOf(csv.header[i]), i, Type::kText};
    if (ComputedColumns().count(kept.name)) continue;
    if (kept.name == "file" && was_exported) continue;
    if (kept.name == kImportedFile) kept.name = "file";
    if (!sweep::IsIdentifier(kept.name))
      return absl::InvalidArgumentError(absl::StrCat(file, ":1: column name ", sweep::Quoted(csv.header[i]), " is too long"));
    if (!names.insert(kept.name).second) {
      return absl::InvalidArgumentError(absl::StrCat(file, ":1: two columns would be named \"", kept.name, "\""));
    }
    const auto all = [&](auto test) {
      return std::all_of(csv.rows.begin(), csv.rows.end(), [&](const std::vector<std::string>& row) { return test(row[i]); });
    };
    if (kept.name == "prompt") {
      kept.type = Type::kPrompt;
    } else if (kept.name == "seed") {
      kept.type = Type::kSeed;
    } else if (kept.name != "model" && kept.name != "file") {
      kept.type = all(IsInt) ? Type::kInt : all(IsNumber) ? Type::kDouble : Type::kText;
    }
    for (size_t row = 0; row < csv.rows.size(); ++row) {
      const std::string& field = csv.rows[row][i];
      const auto error = [&](absl::string_view what) {
        return absl::InvalidArgumentError(absl::StrCat(file, ":", csv.lines[row], ": ", what));
      };
      if (kept.type == Type::kSeed && !field.empty() && !SeedOf(field))
        return error(absl::StrCat("seed ", sweep::Quoted(field), " is not a whole number"));
      if (kept.type == Type::kPrompt) {
        const auto prompt = PromptOf(field);
        if (!prompt.ok()) return error(prompt.status().message());
      }
      if (kept.name == "model" && field.empty()) return error("the model is empty");
    }
    rows.kept_.push_back(std::move(kept));
  }
  std::sort(rows.kept_.begin(), rows.kept_.end(), [](const Kept& a, const Kept& b) { return a.name < b.name; });
  rows.csv_ = std::move(csv);
  rows.file_ = file;
  return rows;
}

void ImportedRows::Fill(uint64_t row, google::protobuf::RepeatedPtrField<v1::Setting>& columns) const {
  for (const Kept& kept : kept_) {
    const std::string& field = csv_.rows[row][kept.index];
    if (kept.type == Type::kSeed && field.empty()) continue;
    v1::Setting& setting = *columns.Add();
    setting.set_name(kept.name);
    v1::Value& value = *setting.mutable_value();
    int64_t whole = 0;
    double number = 0;
    switch (kept.type) {
      case Type::kSeed:
        value.set_int_value(*SeedOf(field));
        break;
      case Type::kInt:
        (void)absl::SimpleAtoi(field, &whole);
        value.set_int_value(whole);
        break;
      case Type::kDouble:
        (void)absl::SimpleAtod(field, &number);
        value.set_double_value(number);
        break;
      case Type::kPrompt:
        *value.mutable_prompt_value() = *PromptOf(field);
        break;
      case Type::kText:
        value.set_string_value(CsvUnguard(field));
        break;
    }
  }
}

Json ImportedRows::JsonOf(uint64_t row) const {
  google::protobuf::RepeatedPtrField<v1::Setting> columns;
  Fill(row, columns);
  Json json = Json::object();
  for (const v1::Setting& column : columns) json[column.name()] = ToJson(column.value());
  return json;
}

absl::StatusOr<std::vector<std::string>> ImportedRows::Files(const std::string& folder) const {
  std::vector<std::string> files;
  for (size_t row = 0; row < csv_.rows.size(); ++row) {
    const std::string name = CsvUnguard(csv_.rows[row][*file_column_]);
    const std::vector<std::string> parts = absl::StrSplit(name, '/');
    const auto error = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(file_, ":", csv_.lines[row], ": file ", sweep::Quoted(name), " ", what));
    };
    if (name.empty() || name[0] == '/' || std::find(parts.begin(), parts.end(), "..") != parts.end())
      return error("is not a path below the folder");
    struct stat info;
    if (stat((folder + "/" + name).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return error("is not there");
    files.push_back(name);
  }
  return files;
}

}  // namespace promptsweep::cli
