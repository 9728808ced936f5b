// The .npy and Parquet files of one import, read side by side: row i of each is of one picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/parquet/vectors.h"

namespace promptsweep::cli {

class VectorFiles {
 public:
  // At least one path; `column` of those that are Parquet, empty where each has but one of vectors. INVALID_ARGUMENT, naming the
  // file, for one that cannot be read or has more or fewer rows than the first.
  [[nodiscard]] static absl::StatusOr<VectorFiles> Open(const std::vector<std::string>& paths, const std::string& column);

  uint64_t rows() const { return files_[0].reader.rows(); }
  size_t size() const { return files_.size(); }
  uint32_t cols(size_t file) const { return files_[file].reader.cols(); }

  // Reads the next rows, at most 4,096, scaled to unit length, and returns how many. INVALID_ARGUMENT for a row that is zero or
  // not finite, and where there are no more rows.
  [[nodiscard]] absl::StatusOr<uint64_t> Next();
  // Of the rows read last.
  const float* Vector(size_t file, uint64_t i) const { return &files_[file].values[i * files_[file].reader.cols()]; }

 private:
  struct File {
    std::string path;
    VectorReader reader;
    std::vector<float> values;
  };
  std::vector<File> files_;
  uint64_t at_ = 0;
};

}  // namespace promptsweep::cli
