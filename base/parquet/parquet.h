// Apache Parquet files (https://parquet.apache.org/docs/file-format/) with a vector a row, and the columns beside it. Read with
// Apache Arrow, which libpromptsweep_parquet.so holds: it is looked for beside the program, then on the loader's path, and loaded
// with the first file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/parquet/parquet_file.h"

namespace promptsweep {

// Whether a path ends in .parquet, in letters of any case.
[[nodiscard]] bool IsParquet(absl::string_view path);

// A table on disk. Movable; not thread-safe.
class ParquetTable {
 public:
  // FAILED_PRECONDITION where the library is missing; INVALID_ARGUMENT "PATH: ..." where the file is no Parquet, is cut short or
  // encrypted, or has no rows.
  [[nodiscard]] static absl::StatusOr<ParquetTable> Open(const std::string& path);

  const std::vector<ParquetColumn>& columns() const { return file_->columns(); }
  uint64_t rows() const { return file_->rows(); }
  // "a (string), b (list<element: float>)", cut after some twenty.
  std::string ColumnsInWords() const;

  // The column of vectors: the one named, else the only one of that type. INVALID_ARGUMENT lists the columns.
  [[nodiscard]] absl::StatusOr<size_t> FindVectors(const std::string& name) const;
  // The column named, which must have a text. INVALID_ARGUMENT lists the columns.
  [[nodiscard]] absl::StatusOr<size_t> FindText(const std::string& name) const;

  // The values of a column that has a text in `rows` (ascending, each below rows()), none for null, cut at `most_bytes`. Reads
  // the row groups that hold such rows, 1,024 rows at a time.
  [[nodiscard]] absl::StatusOr<std::vector<std::optional<std::string>>> Texts(size_t column, const std::vector<uint64_t>& rows,
                                                                              size_t most_bytes);

 private:
  friend class ParquetVectors;
  ParquetTable() = default;
  absl::Status Error(absl::string_view what) const;
  absl::StatusOr<size_t> FindNamed(const std::string& name) const;

  std::string path_;
  std::unique_ptr<ParquetFile> file_;
};

// One column of vectors, read a few rows at a time: memory depends on the rows asked for and on the file's pages, not on its size
// or its row groups. Movable; not thread-safe.
class ParquetVectors {
 public:
  // `column`: as FindVectors takes it. INVALID_ARGUMENT as Open and FindVectors, and for more than 65,536 values a row.
  [[nodiscard]] static absl::StatusOr<ParquetVectors> Open(const std::string& path, const std::string& column);

  uint64_t rows() const { return table_.rows(); }
  uint32_t cols() const { return cols_; }
  // The next rows, row-major, `max_rows` unless fewer are left, doubles rounded to single; empty at the end. INVALID_ARGUMENT
  // names file and row for a null or a vector of another length.
  [[nodiscard]] absl::StatusOr<std::vector<float>> Read(uint64_t max_rows);

 private:
  explicit ParquetVectors(ParquetTable table) : table_(std::move(table)) {}
  absl::Status Next();

  ParquetTable table_;
  ParquetFile::Vectors pending_;  // what was read of the file
  uint64_t taken_ = 0;            // rows of it
  uint64_t next_ = 0;
  uint32_t cols_ = 0;
};

}  // namespace promptsweep
