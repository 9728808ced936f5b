#include "cli/vector_files.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace promptsweep::cli {
namespace {

constexpr uint64_t kRowsAtOnce = 4096;

// Scales `row` to unit length. False where it has none.
bool Normalise(float* row, uint32_t dim) {
  double square = 0;
  for (uint32_t i = 0; i < dim; ++i) square += static_cast<double>(row[i]) * row[i];
  if (!(square > 0) || !std::isfinite(square)) return false;
  const double scale = 1 / std::sqrt(square);
  for (uint32_t i = 0; i < dim; ++i) row[i] = static_cast<float>(row[i] * scale);
  return true;
}

}  // namespace

absl::StatusOr<VectorFiles> VectorFiles::Open(const std::vector<std::string>& paths, const std::string& column) {
  VectorFiles files;
  for (const std::string& path : paths) {
    PS_ASSIGN_OR_RETURN(VectorReader reader, VectorReader::Open(path, column));
    if (!files.files_.empty() && reader.rows() != files.rows()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " has ", reader.rows(), " rows, ", paths[0], " has ", files.rows(), "; row i is of one picture"));
    }
    files.files_.push_back({path, std::move(reader), {}});
  }
  return files;
}

absl::StatusOr<uint64_t> VectorFiles::Next() {
  uint64_t count = 0;
  for (File& file : files_) {
    PS_ASSIGN_OR_RETURN(file.values, file.reader.Read(kRowsAtOnce));
    const uint64_t read = file.values.size() / file.reader.cols();
    if (read == 0 || (count > 0 && read != count)) {
      return absl::InvalidArgumentError(absl::StrCat(file.path, " changed while it was read"));
    }
    count = read;
    for (uint64_t i = 0; i < count; ++i) {
      if (!Normalise(&file.values[i * file.reader.cols()], file.reader.cols())) {
        return absl::InvalidArgumentError(absl::StrCat(file.path, ": row ", at_ + i, " is zero or not finite"));
      }
    }
  }
  at_ += count;
  return count;
}

}  // namespace promptsweep::cli
