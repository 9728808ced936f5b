// Data on stdout in one of three forms. Rows go out as they come; only a table's widths need its rows held back.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/json.h"

namespace promptsweep::cli {

enum class OutputFormat { kTable, kJson, kCsv };

// Writes to stdout. CANCELLED where the reader has gone (a closed pipe) and INVALID_ARGUMENT where the disk behind it is full.
[[nodiscard]] absl::Status WriteStdout(absl::string_view text);

// A column of a table.
struct Column {
  std::string name;        // heading; also the name in CSV
  bool right = false;      // aligned to the right: numbers
  bool free_text = false;  // guarded in CSV against being run as a formula
  size_t max_width = 48;   // in a table; 0 for no limit
};

// A table for people, or the same cells as CSV.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as columns.
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  [[nodiscard]] std::string Render() const;
  [[nodiscard]] std::string Csv() const;
  [[nodiscard]] std::string CsvHeader() const;
  [[nodiscard]] std::string CsvRow(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// The table, its CSV, or `json`, whichever `format` names.
[[nodiscard]] absl::Status Print(OutputFormat format, const Table& table, const Json& json);

}  // namespace promptsweep::cli
