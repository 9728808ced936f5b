#include <arrow/array.h>
#include <arrow/extension_type.h>
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>

#include "base/parquet/parquet_file.h"

namespace promptsweep {
namespace {

constexpr int64_t kBatchRows = 1024;
constexpr int64_t kReadBytes = 1 << 20;
// What a file may make Arrow allocate, whatever sizes it claims.
constexpr int64_t kMostBytes = int64_t{4} << 30;

[[noreturn]] void Fail(const std::string& why) { throw std::runtime_error(why); }

void Check(const arrow::Status& status) {
  if (!status.ok()) Fail(status.message());
}
template <typename T>
T Value(arrow::Result<T> result) {
  Check(result.status());
  return std::move(result).ValueUnsafe();
}

// Runs `work`; false and the words of what it throws.
template <typename Work>
bool Try(std::string& failure, const Work& work) {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    failure = error.what();
  } catch (...) {
    failure = "it cannot be read";
  }
  // The first line: Arrow appends where in its source an error arose.
  failure.resize(std::min(failure.find('\n'), failure.size()));
  return false;
}

arrow::MemoryPool* Pool() {
  static arrow::CappedMemoryPool pool(arrow::default_memory_pool(), kMostBytes);
  return &pool;
}

const arrow::DataType& Storage(const arrow::DataType& type) {
  return type.id() == arrow::Type::EXTENSION ? Storage(*static_cast<const arrow::ExtensionType&>(type).storage_type()) : type;
}
std::shared_ptr<arrow::Array> Storage(const std::shared_ptr<arrow::Array>& array) {
  return array->type_id() == arrow::Type::EXTENSION ? Storage(static_cast<const arrow::ExtensionArray&>(*array).storage())
                                                    : array;
}

ParquetColumn::Kind KindOf(const arrow::DataType& declared) {
  const arrow::DataType& type = Storage(declared);
  switch (type.id()) {
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
      return arrow::is_floating(Storage(*type.field(0)->type()).id()) ? ParquetColumn::kVectors : ParquetColumn::kOther;
    case arrow::Type::DICTIONARY:
      return KindOf(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return ParquetColumn::kText;
    case arrow::Type::BOOL:
    case arrow::Type::NA:
      return ParquetColumn::kScalar;
    default:
      if (arrow::is_integer(type.id())) return ParquetColumn::kWhole;
      if (arrow::is_floating(type.id()) || arrow::is_temporal(type.id()) || arrow::is_decimal(type.id()))
        return ParquetColumn::kScalar;
      return ParquetColumn::kOther;
  }
}

template <typename Number>
std::string Shortest(Number value) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

std::string TextAt(const arrow::Array& array, int64_t at, size_t most_bytes) {
  const auto cut = [&](std::string_view view) { return std::string(view.substr(0, most_bytes)); };
  switch (array.type_id()) {
    case arrow::Type::STRING:
      return cut(static_cast<const arrow::StringArray&>(array).GetView(at));
    case arrow::Type::LARGE_STRING:
      return cut(static_cast<const arrow::LargeStringArray&>(array).GetView(at));
    case arrow::Type::STRING_VIEW:
      return cut(static_cast<const arrow::StringViewArray&>(array).GetView(at));
    case arrow::Type::FLOAT:
      return Shortest(static_cast<const arrow::FloatArray&>(array).Value(at));
    case arrow::Type::DOUBLE:
      return Shortest(static_cast<const arrow::DoubleArray&>(array).Value(at));
    default:
      return cut(Value(array.GetScalar(at))->ToString());
  }
}

std::optional<std::string> OptionalTextAt(const arrow::Array& array, int64_t at, size_t most_bytes) {
  if (array.IsNull(at)) return std::nullopt;
  if (array.type_id() == arrow::Type::EXTENSION) {
    return OptionalTextAt(*static_cast<const arrow::ExtensionArray&>(array).storage(), at, most_bytes);
  }
  if (array.type_id() != arrow::Type::DICTIONARY) return TextAt(array, at, most_bytes);
  const auto& indexed = static_cast<const arrow::DictionaryArray&>(array);
  const int64_t index = indexed.GetValueIndex(at);
  if (index < 0 || index >= indexed.dictionary()->length()) Fail("a value is not in its column's dictionary");
  return OptionalTextAt(*indexed.dictionary(), index, most_bytes);
}

void Leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.is_leaf()) leaves.push_back(field.column_index);
  for (const parquet::arrow::SchemaField& child : field.children) Leaves(child, leaves);
}

class ArrowFile : public ParquetFile {
 public:
  explicit ArrowFile(const char* path) {
    parquet::ReaderProperties properties(Pool());
    properties.enable_buffered_stream();
    properties.set_buffer_size(kReadBytes);
    parquet::ArrowReaderProperties arrow_properties;
    arrow_properties.set_use_threads(false);
    arrow_properties.set_pre_buffer(false);
    arrow_properties.set_batch_size(kBatchRows);
    parquet::arrow::FileReaderBuilder builder;
    Check(builder.Open(Value(arrow::io::ReadableFile::Open(path, Pool())), properties));
    builder.memory_pool(Pool())->properties(arrow_properties);
    reader_ = Value(builder.Build());
    for (const parquet::arrow::SchemaField& field : reader_->manifest().schema_fields) {
      columns_.push_back({field.field->name(), field.field->type()->ToString(), KindOf(*field.field->type())});
      Leaves(field, leaves_.emplace_back());
    }
    const auto metadata = reader_->parquet_reader()->metadata();
    for (int group = 0; group < metadata->num_row_groups(); ++group) {
      const int64_t rows = metadata->RowGroup(group)->num_rows();
      if (rows < 0 || rows > INT64_MAX - static_cast<int64_t>(rows_)) Fail("its row groups have impossible sizes");
      group_begin_.push_back(rows_);
      rows_ += rows;
    }
    group_begin_.push_back(rows_);
    if (metadata->num_rows() != static_cast<int64_t>(rows_)) Fail("its row groups do not add up to its rows");
  }

  const std::vector<ParquetColumn>& columns() const override { return columns_; }
  uint64_t rows() const override { return rows_; }

  bool Start(size_t column, std::string& failure) override {
    return Try(failure, [&] {
      std::vector<int> groups(group_begin_.size() - 1);
      for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<int>(i);
      batches_ = Batches(groups, column);
      read_ = cols_ = 0;
    });
  }

  bool Next(Vectors& next, std::string& failure) override {
    return Try(failure, [&] {
      do {
        Check(batches_->ReadNext(&batch_));
        if (batch_ == nullptr) {
          next = {};
          return;
        }
      } while (batch_->num_rows() == 0);
      const std::shared_ptr<arrow::Array> lists = Storage(Column(*batch_));
      switch (lists->type_id()) {
        case arrow::Type::LIST:
          next = Unpack(static_cast<const arrow::ListArray&>(*lists));
          break;
        case arrow::Type::LARGE_LIST:
          next = Unpack(static_cast<const arrow::LargeListArray&>(*lists));
          break;
        case arrow::Type::FIXED_SIZE_LIST:
          next = Unpack(static_cast<const arrow::FixedSizeListArray&>(*lists));
          break;
        default:
          Fail("the column does not hold vectors");
      }
      read_ += next.rows;
    });
  }

  bool Texts(size_t column, const std::vector<uint64_t>& rows, size_t most_bytes, std::vector<std::optional<std::string>>& texts,
             std::string& failure) override {
    return Try(failure, [&] {
      texts.clear();
      for (size_t next = 0; next < rows.size();) {
        const size_t group = std::upper_bound(group_begin_.begin(), group_begin_.end(), rows[next]) - group_begin_.begin() - 1;
        if (group + 1 >= group_begin_.size()) Fail("there is no row " + std::to_string(rows[next]));
        const auto batches = Batches({static_cast<int>(group)}, column);
        std::shared_ptr<arrow::RecordBatch> batch;
        uint64_t begin = group_begin_[group];
        while (next < rows.size() && rows[next] < group_begin_[group + 1]) {
          Check(batches->ReadNext(&batch));
          if (batch == nullptr) Fail("it ends before row " + std::to_string(rows[next]));
          const std::shared_ptr<arrow::Array> array = Column(*batch);
          for (; next < rows.size() && rows[next] < begin + array->length(); ++next)
            texts.push_back(OptionalTextAt(*array, static_cast<int64_t>(rows[next] - begin), most_bytes));
          begin += array->length();
        }
      }
    });
  }

 private:
  std::unique_ptr<arrow::RecordBatchReader> Batches(const std::vector<int>& groups, size_t column) {
    return Value(reader_->GetRecordBatchReader(groups, leaves_.at(column)));
  }

  static std::shared_ptr<arrow::Array> Column(const arrow::RecordBatch& batch) {
    // Sizes and offsets within the buffers, whatever the file said.
    Check(batch.Validate());
    if (batch.num_columns() != 1) Fail("the column is not one");
    return batch.column(0);
  }

  std::string Row(int64_t at) const { return "row " + std::to_string(read_ + at); }

  template <typename Lists>
  Vectors Unpack(const Lists& lists) {
    for (int64_t i = 0; i < lists.length(); ++i) {
      if (lists.IsNull(i)) Fail(Row(i) + " is null");
      const int64_t cols = lists.value_length(i);
      if (cols_ == 0) cols_ = cols;
      if (cols == 0) Fail(Row(i) + " is empty");
      if (cols != cols_) Fail(Row(i) + " has " + std::to_string(cols) + " values, those before " + std::to_string(cols_));
    }
    const std::shared_ptr<arrow::Array> values = Storage(lists.values())->Slice(lists.value_offset(0), lists.length() * cols_);
    if (values->length() != lists.length() * cols_) Fail("it ends within " + Row(0));
    if (values->null_count() > 0) {
      int64_t at = 0;
      while (!values->IsNull(at)) ++at;
      Fail(Row(at / cols_) + " has a null in it");
    }
    Vectors vectors;
    vectors.rows = lists.length();
    vectors.cols = cols_;
    switch (values->type_id()) {
      case arrow::Type::HALF_FLOAT:
        vectors.width = 2;
        vectors.values = static_cast<const arrow::HalfFloatArray&>(*values).raw_values();
        break;
      case arrow::Type::FLOAT:
        vectors.width = 4;
        vectors.values = static_cast<const arrow::FloatArray&>(*values).raw_values();
        break;
      case arrow::Type::DOUBLE:
        vectors.width = 8;
        vectors.values = static_cast<const arrow::DoubleArray&>(*values).raw_values();
        break;
      default:
        Fail("the column does not hold floats");
    }
    return vectors;
  }

  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::vector<ParquetColumn> columns_;
  std::vector<std::vector<int>> leaves_;  // Parquet's columns of each of ours
  std::vector<uint64_t> group_begin_;     // first row of each row group, and the end
  uint64_t rows_ = 0;

  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  uint64_t read_ = 0;
  int64_t cols_ = 0;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) ParquetFile* promptsweep_parquet_open(const char* path, std::string* failure) {
  std::unique_ptr<ParquetFile> file;
  if (!Try(*failure, [&] { file = std::make_unique<ArrowFile>(path); })) return nullptr;
  return file.release();
}

}  // namespace promptsweep
