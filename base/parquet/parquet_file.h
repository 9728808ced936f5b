// What libpromptsweep_parquet.so offers, which base/parquet/parquet.cc finds by name. The library holds Apache Arrow, whose own
// copies of OpenSSL, protobuf and others must not meet the program's: nothing but this interface is seen of it, and neither
// Arrow's types nor exceptions cross it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace promptsweep {

struct ParquetColumn {
  enum Kind {
    kVectors,  // lists of half, single or double floats
    kText,
    kWhole,   // whole numbers
    kScalar,  // other single values that have a text: numbers, truth, times
    kOther,   // bytes, structs, other lists
  };
  std::string name;
  std::string type;  // as Arrow writes it, for people
  Kind kind = kOther;
};

// A file that is open. Functions that can fail return false and say in `failure` why, in words that name neither file nor column;
// a row is counted from 0. For one thread.
class ParquetFile {
 public:
  // Some next vectors of a column, row-major.
  struct Vectors {
    const void* values = nullptr;  // valid until the next call
    int width = 0;                 // bytes a value: 2, 4 or 8
    uint64_t rows = 0;             // 0: the end
    uint64_t cols = 0;
  };

  virtual ~ParquetFile() = default;
  // The top-level columns.
  virtual const std::vector<ParquetColumn>& columns() const = 0;
  // As the file says; what is read may end before.
  virtual uint64_t rows() const = 0;

  // Begins with row 0 of a column of kVectors.
  virtual bool Start(size_t column, std::string& failure) = 0;
  // At most 1,024 rows. Refused: a null, within a vector too, an empty vector, another length than the first one's.
  virtual bool Next(Vectors& next, std::string& failure) = 0;

  // The values of a column of kText, kWhole or kScalar in `rows` (ascending, below rows()), as text of at most `most_bytes` each;
  // none for null. Only row groups that hold such rows are read.
  virtual bool Texts(size_t column, const std::vector<uint64_t>& rows, size_t most_bytes,
                     std::vector<std::optional<std::string>>& texts, std::string& failure) = 0;
};

extern "C" {
// The caller deletes the file. Null: it cannot be read, see `failure`.
ParquetFile* promptsweep_parquet_open(const char* path, std::string* failure);
}

}  // namespace promptsweep
