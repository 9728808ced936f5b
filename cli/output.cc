#include "cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "cli/csv.h"
#include "cli/text.h"

namespace promptsweep::cli {

absl::Status WriteStdout(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE) return absl::CancelledError("the reader of the output has gone");
      return absl::InvalidArgumentError(absl::StrCat("the output cannot be written: ", std::strerror(errno)));
    }
    text.remove_prefix(written);
  }
  return absl::OkStatus();
}

std::string Table::Render() const {
  std::vector<std::vector<std::string>> shown;
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.name));
  for (const auto& row : rows_) {
    auto& cells = shown.emplace_back();
    for (size_t i = 0; i < columns_.size(); ++i) {
      std::string cell = OneLine(row[i]);
      if (columns_[i].max_width > 0) cell = Truncate(cell, columns_[i].max_width);
      widths[i] = std::max(widths[i], DisplayWidth(cell));
      cells.push_back(std::move(cell));
    }
  }
  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string pad(widths[i] - DisplayWidth(cell), ' ');
      absl::StrAppend(&text, i ? "  " : "", columns_[i].right ? pad : "", cell, columns_[i].right ? "" : pad);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, text, "\n");
  };
  line([&](size_t i) -> const std::string& { return columns_[i].name; });
  for (const auto& row : shown) line([&](size_t i) -> const std::string& { return row[i]; });
  return out;
}

std::string Table::CsvHeader() const {
  std::string out;
  for (size_t i = 0; i < columns_.size(); ++i) absl::StrAppend(&out, i ? "," : "", CsvText(columns_[i].name));
  return out + "\n";
}

std::string Table::CsvRow(const std::vector<std::string>& cells) const {
  std::string out;
  for (size_t i = 0; i < columns_.size(); ++i) {
    absl::StrAppend(&out, i ? "," : "", columns_[i].free_text ? CsvText(cells[i]) : CsvField(cells[i]));
  }
  return out + "\n";
}

std::string Table::Csv() const {
  std::string out = CsvHeader();
  for (const auto& row : rows_) out += CsvRow(row);
  return out;
}

absl::Status Print(OutputFormat format, const Table& table, const Json& json) {
  switch (format) {
    case OutputFormat::kJson:
      return WriteStdout(Dump(json) + "\n");
    case OutputFormat::kCsv:
      return WriteStdout(table.Csv());
    case OutputFormat::kTable:
      break;
  }
  return WriteStdout(table.Render());
}

}  // namespace promptsweep::cli
