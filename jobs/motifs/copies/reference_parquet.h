// What Parquet files say about a reference: which of a folder's hold vectors, and what rows are called.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/parquet/parquet.h"

namespace promptsweep::motifs {

// The Parquet file whose rows name those of a .npy file, where it is there: NAME.parquet beside NAME.npy, or metadata_N.parquet
// for NAME_N.npy, beside it or in ../metadata (what clip-retrieval writes).
[[nodiscard]] std::optional<std::string> ParquetOfNames(const std::string& npy);

// Whether a Parquet file has a column of vectors. As ParquetTable::Open where it cannot be read.
[[nodiscard]] absl::StatusOr<bool> HasVectors(const std::string& parquet);

// The column that names rows: `name` where that is given; else the first there is of url, image_url, path, image_path, file,
// file_name, filename, name, key, caption, text and id (key and id may be whole numbers), in letters of any case; else the first
// of text; else none. INVALID_ARGUMENT where there is no such column, or it is no text.
[[nodiscard]] absl::StatusOr<std::optional<size_t>> ColumnOfNames(const ParquetTable& table, const std::string& name);

// INVALID_ARGUMENT where the rows of one of `files` (.npy or .parquet) cannot be named by a column `name` of Parquet.
[[nodiscard]] absl::Status CheckNames(const std::vector<std::string>& files, const std::string& name);

// The names of some rows of a reference's file (.npy or .parquet) of `total` rows. With `name`: that column. Without: see
// ColumnOfNames; for .npy the .csv or .txt beside it (see ReferenceNames), else ParquetOfNames. "FILE row N" for a row without a
// name, and for all where a file beside has another number of rows. UTF-8, at most 500 bytes each.
[[nodiscard]] absl::StatusOr<std::map<uint64_t, std::string>> NamesOfRows(const std::string& file, uint64_t total,
                                                                          const std::string& name,
                                                                          const std::set<uint64_t>& rows);

}  // namespace promptsweep::motifs
