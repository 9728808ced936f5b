#include "jobs/motifs/copies/reference_parquet.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/motifs/copies/reference_names.h"
#include "jobs/sweep/names.h"

namespace promptsweep::motifs {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostBytes = 500;
constexpr const char* kUsualNames[] = {"url",      "image_url", "path", "image_path", "file", "file_name",
                                       "filename", "name",      "key",  "caption",    "text", "id"};

// A cut may fall within a character, and files hold anything.
std::string AsUtf8(std::string text) {
  size_t bad = 0;
  if (text.size() >= kMostBytes && !sweep::IsUtf8Text(text, &bad) && bad + 3 >= text.size()) text.resize(bad);
  while (!sweep::IsUtf8Text(text, &bad)) text[bad] = '?';
  return text;
}

// The names in a table, none for rows without; none at all where it has no column for them.
absl::Status AddNames(ParquetTable& table, const std::string& name, const std::set<uint64_t>& rows,
                      std::map<uint64_t, std::string>& names) {
  PS_ASSIGN_OR_RETURN(const std::optional<size_t> column, ColumnOfNames(table, name));
  if (!column) return absl::OkStatus();
  const std::vector<uint64_t> wanted(rows.begin(), rows.end());
  PS_ASSIGN_OR_RETURN(auto texts, table.Texts(*column, wanted, kMostBytes));
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (texts[i]) names[wanted[i]] = *std::move(texts[i]);
  }
  return absl::OkStatus();
}

bool HasOwnNames(const std::string& npy) {
  std::error_code ignored;
  return fs::exists(fs::path(npy).replace_extension(".csv"), ignored) ||
         fs::exists(fs::path(npy).replace_extension(".txt"), ignored);
}

}  // namespace

std::optional<std::string> ParquetOfNames(const std::string& npy) {
  const fs::path path(npy), folder = path.parent_path();
  std::vector<fs::path> candidates = {fs::path(path).replace_extension(".parquet")};
  const std::string stem = path.stem().string();
  const size_t cut = stem.rfind('_');
  if (cut != std::string::npos && cut + 1 < stem.size() && std::all_of(stem.begin() + cut + 1, stem.end(), absl::ascii_isdigit)) {
    const std::string name = absl::StrCat("metadata", stem.substr(cut), ".parquet");
    candidates.push_back(folder / name);
    candidates.push_back((folder.empty() ? fs::path(".") : folder) / ".." / "metadata" / name);
  }
  std::error_code ignored;
  for (const fs::path& candidate : candidates) {
    if (fs::is_regular_file(candidate, ignored)) return candidate.string();
  }
  return std::nullopt;
}

absl::StatusOr<bool> HasVectors(const std::string& parquet) {
  PS_ASSIGN_OR_RETURN(const ParquetTable table, ParquetTable::Open(parquet));
  return std::any_of(table.columns().begin(), table.columns().end(),
                     [](const ParquetColumn& column) { return column.kind == ParquetColumn::kVectors; });
}

absl::StatusOr<std::optional<size_t>> ColumnOfNames(const ParquetTable& table, const std::string& name) {
  if (!name.empty()) {
    PS_ASSIGN_OR_RETURN(const size_t column, table.FindText(name));
    return column;
  }
  const auto& columns = table.columns();
  for (const absl::string_view usual : kUsualNames) {
    const bool number = usual == "key" || usual == "id";
    for (size_t i = 0; i < columns.size(); ++i) {
      const bool fits = columns[i].kind == ParquetColumn::kText || (number && columns[i].kind == ParquetColumn::kWhole);
      if (fits && absl::EqualsIgnoreCase(columns[i].name, usual)) return i;
    }
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].kind == ParquetColumn::kText) return i;
  }
  return std::nullopt;
}

absl::Status CheckNames(const std::vector<std::string>& files, const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  for (const std::string& file : files) {
    const std::optional<std::string> source = IsParquet(file) ? file : ParquetOfNames(file);
    if (!source) {
      return absl::InvalidArgumentError(
          absl::StrCat("reference ", file, ": no Parquet file stands beside it that could have a column ", name));
    }
    PS_ASSIGN_OR_RETURN(const ParquetTable table, ParquetTable::Open(*source));
    PS_RETURN_IF_ERROR(ColumnOfNames(table, name).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<uint64_t, std::string>> NamesOfRows(const std::string& file, uint64_t total, const std::string& name,
                                                            const std::set<uint64_t>& rows) {
  std::map<uint64_t, std::string> names;
  if (IsParquet(file)) {
    PS_ASSIGN_OR_RETURN(ParquetTable table, ParquetTable::Open(file));
    if (table.rows() != total) return absl::InvalidArgumentError(absl::StrCat("reference ", file, ": it has changed"));
    PS_RETURN_IF_ERROR(AddNames(table, name, rows, names));
  } else if (name.empty() && HasOwnNames(file)) {
    names = ReferenceNames(file, total, rows);
  } else if (const std::optional<std::string> beside = ParquetOfNames(file)) {
    // What nobody named is no reason to lose the comparison.
    absl::StatusOr<ParquetTable> table = ParquetTable::Open(*beside);
    absl::Status read = table.status();
    if (table.ok() && table->rows() == total) read = AddNames(*table, name, rows, names);
    if (!read.ok() && !name.empty()) return read;
  }
  for (const uint64_t row : rows) {
    std::string& text = names[row];
    text = text.empty() ? absl::StrCat(file, " row ", row) : AsUtf8(std::move(text));
  }
  return names;
}

}  // namespace promptsweep::motifs
