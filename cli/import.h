// An imported sweep on paper: its manifest, which only counts rows, and the rows' own columns, typed and checked.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/csv.h"
#include "cli/json.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

// `rows` cells on the axis "row"; model, prompt and seed are placeholders (see jobs/sweep/imported.h). `content` (32 bytes)
// stands as the model's digest: other content is another sweep.
[[nodiscard]] v1::SweepManifest ImportManifest(const std::string& name, uint64_t rows, const std::vector<v1::ModelRef>& embedders,
                                               const std::string& imported_from, const std::string& content);

// A sweep's name made of a path: its last part in lower case, without .npy or .parquet, hyphens for what no name may hold.
[[nodiscard]] std::string NameOfPath(const std::string& path);

// The column an export writes the imported column "file" to: its own "file" says where the exported picture is.
inline constexpr char kImportedFile[] = "imported_file";

// The columns of every row. A column is whole numbers where all its fields are, numbers where all are, else text. Columns that
// the store works out itself (ordinal, fingerprint, timings, ...: those of `export`) are left out. Where there is a column
// "imported_file", it is what the pictures were called before they were exported, and becomes the column "file" again.
class ImportedRows {
 public:
  // INVALID_ARGUMENT "FILE:LINE: ..." for a seed that is not a whole number, a prompt that is not one (see
  // jobs/sweep/prompt_text.h; an empty field is the empty blank), or column names that cannot be told apart.
  [[nodiscard]] static absl::StatusOr<ImportedRows> FromCsv(CsvFile csv, const std::string& file);

  size_t size() const { return csv_.rows.size(); }
  // Precondition for both: row < size().
  void Fill(uint64_t row, google::protobuf::RepeatedPtrField<v1::Setting>& columns) const;
  // The same as an object; a prompt as its text form.
  Json JsonOf(uint64_t row) const;
  // True where a column (file, file_name, filename, image, path) says which picture a row is about.
  bool has_files() const { return file_column_.has_value(); }
  // That column: paths below `folder`. INVALID_ARGUMENT where one leads out of the folder or to nothing. Precondition:
  // has_files().
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Files(const std::string& folder) const;

 private:
  enum class Type { kText, kInt, kDouble, kPrompt, kSeed };
  struct Kept {
    std::string name;
    size_t index;
    Type type;
  };
  CsvFile csv_;
  std::string file_;
  std::optional<size_t> file_column_;
  std::vector<Kept> kept_;  // sorted by name
};

}  // namespace promptsweep::cli
