// The .npy format of NumPy, versions 1 to 3, restricted to what embeddings need: two dimensions, C order, little-endian half,
// single or double floats. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace promptsweep {

// A matrix on disk, read a few rows at a time. Not thread-safe.
class NpyReader {
 public:
  // INVALID_ARGUMENT "PATH: ..." for anything but the above, and where the file is shorter or longer than its header says.
  [[nodiscard]] static absl::StatusOr<NpyReader> Open(const std::string& path);

  uint64_t rows() const { return rows_; }
  uint32_t cols() const { return cols_; }
  // The next rows, row-major, at most `max_rows`, doubles rounded to single; empty at the end.
  [[nodiscard]] absl::StatusOr<std::vector<float>> Read(uint64_t max_rows);

 private:
  NpyReader() : file_(nullptr, &std::fclose) {}
  std::string path_;
  std::unique_ptr<FILE, int (*)(FILE*)> file_;
  size_t width_ = 4;  // bytes a value
  uint64_t rows_ = 0;
  uint32_t cols_ = 0;
  uint64_t next_ = 0;
};

// Header of a little-endian float16, or float32, matrix of `rows` x `cols`, padded so that data starts at a multiple of 64 bytes
// and can be mapped into memory. Its length does not depend on `rows`.
[[nodiscard]] std::string NpyHalfHeader(uint64_t rows, uint32_t cols);
[[nodiscard]] std::string NpySingleHeader(uint64_t rows, uint32_t cols);

}  // namespace promptsweep
