// Proves that every kind of column of vectors reads as the same vectors in .npy do, that texts beside them are found in any row
// group, and that damaged, hostile and unsuitable files are refused with a reason and never end the program.
#include "base/parquet/parquet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/npy.h"
#include "base/parquet/vectors.h"

namespace promptsweep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Fixture(const std::string& name) {
  return absl::StrCat(PROMPTSWEEP_SOURCE_DIR, "/tests/base/parquet/", name, ".parquet");
}

std::string BytesOf(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

class Parquet : public testing::Test {
 protected:
  void SetUp() override { path_ = absl::StrCat(testing::TempDir(), "/parquet_test-", getpid(), ".parquet"); }
  void TearDown() override { std::filesystem::remove(path_); }

  static std::string Refusal(const std::string& path, const std::string& column = "") {
    absl::StatusOr<ParquetVectors> vectors = ParquetVectors::Open(path, column);
    while (vectors.ok()) {
      const auto rows = vectors->Read(2);
      if (!rows.ok()) return std::string(rows.status().message());
      if (rows->empty()) return "accepted";
    }
    EXPECT_EQ(vectors.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(vectors.status().message());
  }
  // Reads all there is of a file of these bytes; false where that is refused.
  bool ReadsAll(const std::string& bytes) {
    std::filesystem::remove(path_);  // a file that is emptied and written again may wait for the disk
    std::ofstream(path_, std::ios::binary) << bytes;
    bool all = Refusal(path_) == "accepted";
    auto table = ParquetTable::Open(path_);
    if (!table.ok()) return false;
    const std::vector<uint64_t> rows = {0, table->rows() - 1};
    for (size_t i = 0; i < table->columns().size(); ++i) {
      if (table->FindText(table->columns()[i].name).ok()) all &= table->Texts(i, rows, 100).ok();
    }
    return all;
  }

  std::string path_;
};

TEST_F(Parquet, EveryKindOfColumnGivesTheSameVectors) {
  std::string values;
  std::vector<float> expected;
  for (int i = 0; i < 20; ++i) expected.push_back(i / 8.0f - 1);
  for (const char* name : {"list_float", "list_half", "list_double", "large_list", "fixed_size", "fixed_size_half", "tensor",
                           "codec_none", "codec_snappy", "codec_gzip", "codec_zstd", "codec_lz4", "codec_brotli", "plain",
                           "split_bytes", "pages_v2", "row_groups", "named", "categories"}) {
    // At once, and across the ends of row groups.
    for (const uint64_t rows_at_once : {1000, 3, 1}) {
      auto reader = VectorReader::Open(Fixture(name), "");
      ASSERT_TRUE(reader.ok()) << name << ": " << reader.status();
      EXPECT_EQ(reader->rows(), 5u);
      EXPECT_EQ(reader->cols(), 4u);
      std::vector<float> values;
      while (true) {
        const auto rows = reader->Read(rows_at_once);
        ASSERT_TRUE(rows.ok()) << name << ": " << rows.status();
        if (rows->empty()) break;
        EXPECT_TRUE(rows->size() == 4 * rows_at_once || values.size() + rows->size() == 20) << name;
        values.insert(values.end(), rows->begin(), rows->end());
      }
      EXPECT_EQ(values, expected) << name;
    }
  }
}

TEST_F(Parquet, TheColumnOfVectorsIsNamedWhereThereAreSeveral) {
  EXPECT_THAT(Refusal(Fixture("two_columns")), AllOf(HasSubstr("several columns are lists of floats"), HasSubstr("image (list<"),
                                                     HasSubstr("text (list<"), HasSubstr("id (int64)")));
  auto vectors = ParquetVectors::Open(Fixture("two_columns"), "text");
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  EXPECT_THAT(*vectors->Read(1), ElementsAre(-0.625f, -0.75f, -0.875f, -1.0f));
  EXPECT_THAT(Refusal(Fixture("two_columns"), "id"), HasSubstr("column id is no list of floats but int64"));
  EXPECT_THAT(Refusal(Fixture("two_columns"), "none"), HasSubstr("no column is named none; there are: image"));
  EXPECT_THAT(Refusal(Fixture("no_vectors")), HasSubstr("no column is a list of floats; there are: url (string), box (struct<"));
}

TEST_F(Parquet, TextsAreReadFromTheirRowGroups) {
  const auto texts = [](const std::string& file, const std::string& column, const std::vector<uint64_t>& rows,
                        size_t most = 100) {
    auto table = ParquetTable::Open(Fixture(file));
    EXPECT_TRUE(table.ok()) << table.status();
    const auto index = table->FindText(column);
    EXPECT_TRUE(index.ok()) << index.status();
    const auto found = table->Texts(*index, rows, most);
    EXPECT_TRUE(found.ok()) << found.status();
    return *found;
  };
  EXPECT_THAT(texts("row_groups", "url", {0, 2, 4}), ElementsAre("http://zero", std::nullopt, "http://four"));
  EXPECT_THAT(texts("row_groups", "number", {1, 3, 4}), ElementsAre("11", "13", "14"));
  EXPECT_THAT(texts("row_groups", "url", {3}, 7), ElementsAre("http://"));
  EXPECT_THAT(texts("row_groups", "url", {}), ElementsAre());
  EXPECT_THAT(texts("categories", "name", {0, 1, 2, 3, 4}), ElementsAre("x", "y", "x", std::nullopt, "z"));
  EXPECT_THAT(texts("numbered", "id", {3, 4}), ElementsAre("1099511627776", "-1"));
  EXPECT_THAT(texts("numbered", "score", {0, 3}), ElementsAre("0.5", "1"));
  EXPECT_THAT(texts("import", "ok", {0, 1}), ElementsAre("true", "false"));
  EXPECT_THAT(texts("import", "made", {1}), ElementsAre("1970-01-02 00:00:00.000"));
  auto table = ParquetTable::Open(Fixture("no_vectors"));
  ASSERT_TRUE(table.ok());
  EXPECT_THAT(table->FindText("bytes").status().message(), HasSubstr("neither text nor a number but binary"));
  EXPECT_FALSE(table->Texts(0, {5}, 10).ok());
}

TEST_F(Parquet, RowsThatAreNoVectorAreNamed) {
  EXPECT_THAT(Refusal(Fixture("null_vector")), HasSubstr("null_vector.parquet: row 3 is null"));
  EXPECT_THAT(Refusal(Fixture("null_vector_fixed")), HasSubstr("null_vector_fixed.parquet: row 3 is null"));
  EXPECT_THAT(Refusal(Fixture("null_value")), HasSubstr("row 2 has a null in it"));
  EXPECT_THAT(Refusal(Fixture("ragged")), HasSubstr("ragged.parquet: row 5 has 3 values, those before 4"));
  EXPECT_THAT(Refusal(Fixture("empty_vector")), HasSubstr("row 0 is empty"));
  EXPECT_THAT(Refusal(Fixture("zero_rows")), HasSubstr("it has no rows"));
}

TEST_F(Parquet, WhatIsNoParquetIsRefused) {
  EXPECT_THAT(Refusal(testing::TempDir()), HasSubstr("not a regular file"));
  EXPECT_THAT(Refusal(path_), HasSubstr("not a regular file"));
  for (const std::string& bytes : {std::string(), std::string("PAR1"), std::string("PAR1PAR1"), std::string(100, 'x'),
                                   "PAR1" + std::string(4, '\xff') + "PAR1", "PAR1" + std::string(9000, '\x15') + "PAR1"}) {
    EXPECT_FALSE(ReadsAll(bytes)) << bytes.size();
  }
  EXPECT_FALSE(ReadsAll(BytesOf(Fixture("plain")).substr(0, 300)));
}

TEST_F(Parquet, NoDamageEndsTheProgram) {
  std::mt19937_64 random(1);
  int refused = 0;
  for (const char* name : {"row_groups", "fixed_size", "categories", "numbered", "codec_zstd", "pages_v2", "list_half"}) {
    const std::string whole = BytesOf(Fixture(name));
    ASSERT_FALSE(whole.empty());
    for (int i = 0; i < 60; ++i) EXPECT_FALSE(ReadsAll(whole.substr(0, random() % whole.size())));
    for (int i = 0; i < 300; ++i) {
      std::string bytes = whole;
      for (int flips = 1 + random() % 3; flips > 0; --flips) bytes[random() % bytes.size()] = static_cast<char>(random());
      refused += !ReadsAll(bytes);
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace promptsweep
