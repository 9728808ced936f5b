#include "base/parquet/vectors.h"

#include <utility>

#include "base/status.h"

namespace promptsweep {

absl::StatusOr<VectorReader> VectorReader::Open(const std::string& path, const std::string& column) {
  if (IsParquet(path)) {
    PS_ASSIGN_OR_RETURN(ParquetVectors vectors, ParquetVectors::Open(path, column));
    return VectorReader(std::move(vectors));
  }
  PS_ASSIGN_OR_RETURN(NpyReader npy, NpyReader::Open(path));
  return VectorReader(std::move(npy));
}

}  // namespace promptsweep
