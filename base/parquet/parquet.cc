#include "base/parquet/parquet.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/half.h"
#include "base/status.h"

namespace promptsweep {
namespace {

constexpr char kLibrary[] = "libpromptsweep_parquet.so";
constexpr uint64_t kMaxCols = 1 << 16;
constexpr size_t kColumnsShown = 20;

struct Library {
  decltype(&promptsweep_parquet_open) open = nullptr;
  std::string failure;
};

// It stays loaded.
const Library& TheLibrary() {
  static const Library* const library = [] {
    auto* found = new Library;
    std::error_code ignored;
    const auto beside = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / kLibrary;
    void* handle = nullptr;
    for (const std::string& name : {beside.string(), std::string(kLibrary)}) {
      if (handle == nullptr) handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle == nullptr && found->failure.empty()) found->failure = ::dlerror();
    }
    if (handle != nullptr) {
      found->open = reinterpret_cast<decltype(found->open)>(::dlsym(handle, "promptsweep_parquet_open"));
      found->failure = absl::StrCat(kLibrary, " is another version's");
    }
    return found;
  }();
  return *library;
}

bool HasText(ParquetColumn::Kind kind) {
  return kind == ParquetColumn::kText || kind == ParquetColumn::kWhole || kind == ParquetColumn::kScalar;
}

}  // namespace

bool IsParquet(absl::string_view path) { return absl::EndsWithIgnoreCase(path, ".parquet"); }

absl::StatusOr<ParquetTable> ParquetTable::Open(const std::string& path) {
  const Library& library = TheLibrary();
  if (library.open == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": Parquet cannot be read here: ", library.failure));
  }
  ParquetTable table;
  table.path_ = path;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return table.Error("not a regular file");
  std::string failure;
  table.file_.reset(library.open(path.c_str(), &failure));
  if (table.file_ == nullptr) return table.Error(failure);
  if (table.rows() == 0) return table.Error("it has no rows");
  return table;
}

absl::Status ParquetTable::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
}

std::string ParquetTable::ColumnsInWords() const {
  std::vector<std::string> words;
  for (const ParquetColumn& column : columns()) {
    if (words.size() == kColumnsShown) {
      words.push_back("...");
      break;
    }
    words.push_back(absl::StrCat(column.name, " (", column.type, ")"));
  }
  return absl::StrJoin(words, ", ");
}

absl::StatusOr<size_t> ParquetTable::FindNamed(const std::string& name) const {
  std::optional<size_t> found;
  for (size_t i = 0; i < columns().size(); ++i) {
    if (columns()[i].name != name) continue;
    if (found) return Error(absl::StrCat("two columns are named ", name));
    found = i;
  }
  if (!found) return Error(absl::StrCat("no column is named ", name, "; there are: ", ColumnsInWords()));
  return *found;
}

absl::StatusOr<size_t> ParquetTable::FindVectors(const std::string& name) const {
  if (!name.empty()) {
    PS_ASSIGN_OR_RETURN(const size_t column, FindNamed(name));
    if (columns()[column].kind == ParquetColumn::kVectors) return column;
    return Error(absl::StrCat("column ", name, " is no list of floats but ", columns()[column].type));
  }
  std::vector<size_t> found;
  for (size_t i = 0; i < columns().size(); ++i) {
    if (columns()[i].kind == ParquetColumn::kVectors) found.push_back(i);
  }
  if (found.size() == 1) return found[0];
  return Error(absl::StrCat(found.empty() ? "no column is a list of floats" : "several columns are lists of floats, name one",
                            "; there are: ", ColumnsInWords()));
}

absl::StatusOr<size_t> ParquetTable::FindText(const std::string& name) const {
  PS_ASSIGN_OR_RETURN(const size_t column, FindNamed(name));
  if (HasText(columns()[column].kind)) return column;
  return Error(absl::StrCat("column ", name, " is neither text nor a number but ", columns()[column].type));
}

absl::StatusOr<std::vector<std::optional<std::string>>> ParquetTable::Texts(size_t column, const std::vector<uint64_t>& rows,
                                                                            size_t most_bytes) {
  std::vector<std::optional<std::string>> texts;
  std::string failure;
  if (!file_->Texts(column, rows, most_bytes, texts, failure))
    return Error(absl::StrCat("column ", columns()[column].name, ": ", failure));
  return texts;
}

absl::StatusOr<ParquetVectors> ParquetVectors::Open(const std::string& path, const std::string& column) {
  PS_ASSIGN_OR_RETURN(ParquetTable table, ParquetTable::Open(path));
  PS_ASSIGN_OR_RETURN(const size_t index, table.FindVectors(column));
  ParquetVectors vectors(std::move(table));
  std::string failure;
  if (!vectors.table_.file_->Start(index, failure)) return vectors.table_.Error(failure);
  PS_RETURN_IF_ERROR(vectors.Next());
  if (vectors.pending_.cols > kMaxCols) {
    return vectors.table_.Error(absl::StrCat(vectors.pending_.cols, " values a row; at most ", kMaxCols, " are possible"));
  }
  vectors.cols_ = static_cast<uint32_t>(vectors.pending_.cols);
  return vectors;
}

absl::Status ParquetVectors::Next() {
  std::string failure;
  taken_ = 0;
  if (!table_.file_->Next(pending_, failure)) return table_.Error(failure);
  if (pending_.rows == 0) return table_.Error(absl::StrCat("it promises ", rows(), " rows and ends before row ", next_));
  if (pending_.rows > rows() - next_) return table_.Error(absl::StrCat("it holds more rows than the ", rows(), " it promises"));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ParquetVectors::Read(uint64_t max_rows) {
  const uint64_t wanted = std::min(max_rows, rows() - next_);
  std::vector<float> values;
  for (uint64_t have = 0; have < wanted;) {
    if (taken_ == pending_.rows) PS_RETURN_IF_ERROR(Next());
    const uint64_t rows = std::min(wanted - have, pending_.rows - taken_), count = rows * cols_, first = taken_ * cols_;
    if (pending_.width == 2) {
      const std::vector<float> unpacked =
          UnpackHalves(absl::string_view(static_cast<const char*>(pending_.values) + 2 * first, 2 * count));
      values.insert(values.end(), unpacked.begin(), unpacked.end());
    } else if (pending_.width == 4) {
      const float* begin = static_cast<const float*>(pending_.values) + first;
      values.insert(values.end(), begin, begin + count);
    } else {
      const double* begin = static_cast<const double*>(pending_.values) + first;
      std::transform(begin, begin + count, std::back_inserter(values), [](double value) { return static_cast<float>(value); });
    }
    taken_ += rows;
    next_ += rows;
    have += rows;
  }
  return values;
}

}  // namespace promptsweep
