#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "base/status.h"
#include "worker/pipeline/import.h"

namespace promptsweep::worker {
namespace {

using nlohmann::json;

v1::Setting TextSetting(const std::string& name, const std::string& text) {
  v1::Setting setting;
  setting.set_name(name);
  setting.mutable_value()->set_string_value(text);
  return setting;
}

absl::StatusOr<v1::Setting> SettingOf(const std::string& name, const json& value) {
  v1::Setting setting = TextSetting(name, "");
  if (value.is_string()) {
    setting.mutable_value()->set_string_value(value.get<std::string>());
  } else if (value.is_boolean()) {
    setting.mutable_value()->set_bool_value(value.get<bool>());
  } else if (value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX})) {
    setting.mutable_value()->set_int_value(value.get<int64_t>());
  } else if (value.is_number()) {
    setting.mutable_value()->set_double_value(value.get<double>());
  } else {
    return absl::InvalidArgumentError(absl::StrCat("the imported column ", name, " is neither text, number nor truth value"));
  }
  return setting;
}

absl::StatusOr<ImportRow> RowOf(const json& object) {
  ImportRow row;
  if (!object.is_object()) return absl::InvalidArgumentError("a row is not an object");
  for (const auto& [key, value] : object.items()) {
    if (key == "ordinal" && value.is_number_unsigned()) {
      row.ordinal = value.get<uint64_t>();
    } else if (key == "path" && value.is_string()) {
      row.path = value.get<std::string>();
    } else if (key == "imported" && value.is_object()) {
      for (const auto& [name, column] : value.items()) {
        if (column.is_null()) continue;
        PS_ASSIGN_OR_RETURN(v1::Setting setting, SettingOf(name, column));
        row.imported.push_back(std::move(setting));
      }
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown or ill-typed key \"", key, "\""));
    }
  }
  if (!object.contains("ordinal") || row.path.empty()) return absl::InvalidArgumentError("a row needs \"ordinal\" and \"path\"");
  return row;
}

absl::StatusOr<json> Parse(const std::string& text) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError("not JSON");
  return value;
}

absl::StatusOr<std::vector<ImportRow>> JsonRows(const std::string& text) {
  std::vector<ImportRow> rows;
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "[")) {
    PS_ASSIGN_OR_RETURN(const json array, Parse(text));
    for (size_t i = 0; i < array.size(); ++i) {
      absl::StatusOr<ImportRow> row = RowOf(array[i]);
      if (!row.ok()) return Annotate(row.status(), absl::StrCat("row ", i + 1));
      rows.push_back(*std::move(row));
    }
    return rows;
  }
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<json> value = Parse(line);
    absl::StatusOr<ImportRow> row = value.ok() ? RowOf(*value) : absl::StatusOr<ImportRow>(value.status());
    if (!row.ok()) return Annotate(row.status(), absl::StrCat("line ", number));
    rows.push_back(*std::move(row));
  }
  return rows;
}

// One record of RFC 4180 from `at` on; moves `at` behind it and counts lines.
absl::StatusOr<std::vector<std::string>> CsvRecord(const std::string& text, size_t& at, int& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\n') ++line;
      if (c != '"') {
        fields.back().push_back(c);
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        fields.back().push_back(text[++at]);
      } else {
        quoted = false;
      }
    } else if (c == '"' && fields.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '\n') {
      ++at;
      break;
    } else if (c != '\r') {
      fields.back().push_back(c);
    }
  }
  ++line;
  if (quoted) return absl::InvalidArgumentError(absl::StrCat("line ", line, ": a quote is not closed"));
  return fields;
}

absl::StatusOr<std::vector<ImportRow>> CsvRows(const std::string& text) {
  size_t at = absl::StartsWith(text, "\xef\xbb\xbf") ? 3 : 0;
  int line = 0;
  PS_ASSIGN_OR_RETURN(const std::vector<std::string> columns, CsvRecord(text, at, line));
  for (const char* needed : {"ordinal", "path"}) {
    if (std::count(columns.begin(), columns.end(), needed) != 1) {
      return absl::InvalidArgumentError(absl::StrCat("line 1: exactly one column must be named ", needed));
    }
  }
  std::vector<ImportRow> rows;
  while (at < text.size()) {
    PS_ASSIGN_OR_RETURN(std::vector<std::string> fields, CsvRecord(text, at, line));
    if (fields.size() == 1 && fields[0].empty()) continue;
    if (fields.size() != columns.size()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", fields.size(), " fields, not ", columns.size()));
    }
    ImportRow row;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (columns[i] == "ordinal") {
        if (!absl::SimpleAtoi(fields[i], &row.ordinal)) {
          return absl::InvalidArgumentError(absl::StrCat("line ", line, ": \"", fields[i], "\" is not an ordinal"));
        }
      } else if (columns[i] == "path") {
        row.path = std::move(fields[i]);
      } else {
        row.imported.push_back(TextSetting(columns[i], fields[i]));
      }
    }
    if (row.path.empty()) return absl::InvalidArgumentError(absl::StrCat("line ", line, ": no path"));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

absl::StatusOr<std::vector<ImportRow>> ReadImportRows(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream content;
  if (!in || !(content << in.rdbuf())) return absl::InvalidArgumentError(absl::StrCat(file, " cannot be read or is empty"));
  const std::string text = std::move(content).str();
  absl::StatusOr<std::vector<ImportRow>> rows = absl::EndsWithIgnoreCase(file, ".csv") ? CsvRows(text) : JsonRows(text);
  if (!rows.ok()) return Annotate(rows.status(), file);
  const std::filesystem::path folder = std::filesystem::path(file).parent_path();
  for (ImportRow& row : *rows) {
    if (row.path[0] != '/') row.path = (folder / row.path).string();
    std::sort(row.imported.begin(), row.imported.end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
  }
  std::stable_sort(rows->begin(), rows->end(), [](const ImportRow& a, const ImportRow& b) { return a.ordinal < b.ordinal; });
  for (size_t i = 1; i < rows->size(); ++i) {
    if ((*rows)[i].ordinal == (*rows)[i - 1].ordinal) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": ordinal ", (*rows)[i].ordinal, " stands twice"));
    }
  }
  return rows;
}

}  // namespace promptsweep::worker
