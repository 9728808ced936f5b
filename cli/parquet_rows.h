// The rows of an import from a Parquet file.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "cli/csv.h"

namespace promptsweep::cli {

// The columns of text, numbers, truth and times as a CSV would have them, null as an empty field; lists, structs and bytes are
// left out. The "line" of a row is its number, from 0. INVALID_ARGUMENT where the file cannot be read, its text is not UTF-8 or
// more than `most_bytes`; FAILED_PRECONDITION where Parquet cannot be read here.
[[nodiscard]] absl::StatusOr<CsvFile> ReadParquetRows(const std::string& path, uint64_t most_bytes);

}  // namespace promptsweep::cli
