#include "cli/parquet_rows.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/parquet/parquet.h"
#include "base/status.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

// As many as a row group usually has: each call reads its row groups from their beginnings. Rows are made as they are read, since
// a file may claim any number.
constexpr uint64_t kRowsAtOnce = 1 << 20;

// What CsvUnguard turns into `text`.
std::string Guarded(std::string text) { return CsvUnguard(text) == text ? text : "'" + text; }

}  // namespace

absl::StatusOr<CsvFile> ReadParquetRows(const std::string& path, uint64_t most_bytes) {
  PS_ASSIGN_OR_RETURN(ParquetTable table, ParquetTable::Open(path));
  const auto error = [&](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what)); };
  if (table.rows() > static_cast<uint64_t>(std::numeric_limits<int>::max())) return error("it has too many rows");
  CsvFile csv;
  std::vector<size_t> columns;
  for (size_t i = 0; i < table.columns().size(); ++i) {
    const ParquetColumn& column = table.columns()[i];
    if (column.kind == ParquetColumn::kVectors || column.kind == ParquetColumn::kOther) continue;
    if (!IsUtf8(column.name) || column.name.empty()) return error("a column has no name");
    columns.push_back(i);
    csv.header.push_back(column.name);
  }
  if (table.rows() > most_bytes / (sizeof(std::string) * (columns.size() + 1))) return error("it has too many rows");
  uint64_t bytes = 0;
  std::vector<uint64_t> wanted;
  for (size_t c = 0; c < columns.size(); ++c) {
    for (uint64_t begin = 0; begin < table.rows(); begin += kRowsAtOnce) {
      wanted.resize(std::min(kRowsAtOnce, table.rows() - begin));
      std::iota(wanted.begin(), wanted.end(), begin);
      PS_ASSIGN_OR_RETURN(auto texts, table.Texts(columns[c], wanted, most_bytes));
      if (c == 0) csv.rows.resize(begin + wanted.size(), std::vector<std::string>(columns.size()));
      for (size_t i = 0; i < texts.size(); ++i) {
        if (!texts[i]) continue;
        bytes += texts[i]->size();
        if (bytes > most_bytes) return error("its text is too long");
        if (!IsUtf8(*texts[i])) return error(absl::StrCat("row ", begin + i, ": ", csv.header[c], " is not UTF-8"));
        csv.rows[begin + i][c] = Guarded(*std::move(texts[i]));
      }
    }
  }
  // Without such columns there are rows all the same.
  csv.rows.resize(table.rows());
  csv.lines.resize(table.rows());
  std::iota(csv.lines.begin(), csv.lines.end(), 0);
  return csv;
}

}  // namespace promptsweep::cli
