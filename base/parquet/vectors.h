// Vectors in a file of either kind.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "base/npy.h"
#include "base/parquet/parquet.h"

namespace promptsweep {

// A .npy file, or a column of a .parquet file, by the ending of its name: the same vectors in either give the same bits. Movable;
// not thread-safe.
class VectorReader {
 public:
  // As NpyReader::Open or ParquetVectors::Open. `column` counts for Parquet alone.
  [[nodiscard]] static absl::StatusOr<VectorReader> Open(const std::string& path, const std::string& column);

  uint64_t rows() const {
    return std::visit([](const auto& reader) { return reader.rows(); }, reader_);
  }
  uint32_t cols() const {
    return std::visit([](const auto& reader) { return reader.cols(); }, reader_);
  }
  // The next rows, row-major, `max_rows` unless fewer are left; empty at the end.
  [[nodiscard]] absl::StatusOr<std::vector<float>> Read(uint64_t max_rows) {
    return std::visit([max_rows](auto& reader) { return reader.Read(max_rows); }, reader_);
  }

 private:
  template <typename Reader>
  explicit VectorReader(Reader reader) : reader_(std::move(reader)) {}
  std::variant<NpyReader, ParquetVectors> reader_;
};

}  // namespace promptsweep
