// Proves that a Parquet reference gives the bits that the same vectors give as .npy, for any number of threads, that rows are
// called by the right column, and which folders and columns are refused.
#include "jobs/motifs/copies/reference_parquet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/half.h"
#include "base/npy.h"
#include "base/parquet/vectors.h"
#include "jobs/motifs/copies/reference.h"

namespace promptsweep::motifs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string Fixture(const std::string& name) {
  return absl::StrCat(PROMPTSWEEP_SOURCE_DIR, "/tests/base/parquet/", name, ".parquet");
}

class ReferenceParquet : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/reference-parquet-", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Copy(const std::string& fixture, const std::string& name) {
    const fs::path to = folder_ + "/" + name;
    fs::create_directories(to.parent_path());
    fs::copy_file(Fixture(fixture), to, fs::copy_options::overwrite_existing);
    return to;
  }
  std::string Write(const std::string& name, const std::string& bytes) {
    const fs::path to = folder_ + "/" + name;
    fs::create_directories(to.parent_path());
    std::ofstream(to, std::ios::binary) << bytes;
    return to;
  }
  // The vectors of a fixture as .npy.
  std::string Npy(const std::string& fixture, const std::string& name) {
    auto reader = VectorReader::Open(Fixture(fixture), "");
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto values = reader->Read(reader->rows());
    EXPECT_TRUE(values.ok()) << values.status();
    return Write(name, NpyHalfHeader(reader->rows(), reader->cols()) + PackHalves(values->data(), values->size()));
  }
  static absl::StatusOr<v1::MotifReport> Match(const ReferenceOptions& options, int threads = 1) {
    const auto files = FindReference(options);
    if (!files.ok()) return files.status();
    Matrix x(40, files->cols);
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    Runs runs;
    RowSet members;
    for (uint32_t i = 0; i < 40; ++i) {
      for (int64_t j = 0; j < x.dim; ++j) x.row(i)[j] = normal(random);
      const float norm = std::sqrt(std::inner_product(x.row(i), x.row(i) + x.dim, x.row(i), 0.0f));
      for (int64_t j = 0; j < x.dim; ++j) x.row(i)[j] /= norm;
      runs.ordinal.push_back(i);
      members.push_back(i);
    }
    v1::MotifReport report;
    report.add_motifs();
    if (const absl::Status status = MatchVectors(*files, options, x, runs, {members}, threads, report); !status.ok())
      return status;
    return report;
  }
  static std::string Why(const ReferenceOptions& options) {
    const auto report = Match(options);
    return report.ok() ? "accepted" : std::string(report.status().message());
  }
  std::vector<std::string> Names(const std::string& file, const std::string& name = "", uint64_t total = 5) {
    const auto names = NamesOfRows(file, total, name, {0, 2, 4});
    EXPECT_TRUE(names.ok()) << names.status();
    std::vector<std::string> list;
    for (const auto& [row, text] : *names) list.push_back(absl::StrReplaceAll(text, {{folder_ + "/", ""}}));
    return list;
  }

  std::string folder_;
};

TEST_F(ReferenceParquet, TheSameVectorsGiveTheSameBits) {
  const std::string parquet = Copy("long", "p/a.parquet"), npy = Npy("long", "n/a.npy");
  Copy("long", "p/b.parquet");
  Npy("long", "n/b.npy");
  for (const bool folders : {false, true}) {
    auto one = Match({.path = folders ? folder_ + "/p" : parquet});
    auto other = Match({.path = folders ? folder_ + "/n" : npy});
    ASSERT_TRUE(one.ok() && other.ok()) << one.status() << other.status();
    EXPECT_EQ(one->reference().rows(), folders ? 34'000u : 17'000u);
    EXPECT_EQ(one->motifs(0).reference().compared(), 40u);
    ASSERT_EQ(one->motifs(0).reference().nearest_size(), 8);
    EXPECT_EQ(one->SerializeAsString(), Match({.path = one->reference().path()}, 3)->SerializeAsString());
    for (int i = 0; i < 8; ++i) {
      v1::ReferencePair& pair = *one->mutable_motifs(0)->mutable_reference()->mutable_nearest(i);
      // Its id is its row.
      pair.set_reference(absl::StrCat(npy, " row ", pair.reference()));
    }
    one->mutable_reference()->set_path(other->reference().path());
    EXPECT_EQ(one->SerializeAsString(), other->SerializeAsString());
  }
}

TEST_F(ReferenceParquet, RowsAreCalledByTheUsualColumnOrTheOneNamed) {
  using ::testing::ElementsAre;
  const std::string named = Copy("named", "named.parquet");
  EXPECT_THAT(Names(named), ElementsAre("http://zero", "named.parquet row 2", "http://four"));
  EXPECT_THAT(Names(named, "caption"), ElementsAre("a", "c", "e"));
  EXPECT_THAT(Names(named, "width"), ElementsAre("1", "3", "5"));
  EXPECT_THAT(Names(Copy("numbered", "m.parquet")), ElementsAre("7", "9", "-1"));
  EXPECT_THAT(Names(Copy("categories", "c.parquet")), ElementsAre("x", "x", "z"));
  EXPECT_THAT(Names(Copy("plain", "p.parquet")), ElementsAre("p.parquet row 0", "p.parquet row 2", "p.parquet row 4"));
  EXPECT_THAT(Why({.path = named, .names_column = "embedding"}), HasSubstr("column embedding is neither text nor a number"));
  EXPECT_THAT(Why({.path = named, .names_column = "URL"}),
              AllOf(HasSubstr("no column is named URL; there are: embedding ("), HasSubstr("url (string)")));
}

TEST_F(ReferenceParquet, NpyIsNamedByTheMetadataBesideIt) {
  using ::testing::ElementsAre;
  const std::string npy = Npy("plain", "l/img_emb/img_emb_0003.npy");
  EXPECT_THAT(Names(npy)[1], HasSubstr("img_emb_0003.npy row 2"));
  EXPECT_THAT(Why({.path = npy, .names_column = "caption"}), HasSubstr("no Parquet file stands beside it"));
  Copy("metadata", "l/metadata/metadata_0003.parquet");
  EXPECT_THAT(Names(npy), ElementsAre("0.jpg", "2.jpg", "4.jpg"));
  EXPECT_THAT(Names(npy, "caption"), ElementsAre("a", "c", "e"));
  EXPECT_THAT(Names(npy, "", 6)[0], HasSubstr("row 0"));
  Copy("named", "l/img_emb/metadata_0003.parquet");
  EXPECT_THAT(Names(npy)[0], "http://zero");
  EXPECT_EQ(Why({.path = folder_ + "/l/img_emb//"}), "accepted");
  Write("l/img_emb/img_emb_0003.txt", "one\ntwo\nthree\nfour\nfive\n");
  EXPECT_THAT(Names(npy), ElementsAre("one", "three", "five"));
  EXPECT_THAT(Names(npy, "caption"), ElementsAre("a", "c", "e"));
  fs::remove(folder_ + "/l/img_emb/img_emb_0003.txt");
  Write("l/img_emb/metadata_0003.parquet", "PAR1 no more");
  EXPECT_THAT(Names(npy)[0], HasSubstr("row 0"));
}

TEST_F(ReferenceParquet, NamesAreTextWhateverTheFileHolds) {
  const std::string npy = Npy("plain", "x.npy");
  Write("x.txt", "\xff\xfe\n\nthree\n\n" + std::string(499, 'a') + "\xc3\xbc\n");
  EXPECT_THAT(Names(npy), testing::ElementsAre("??", "three", std::string(499, 'a')));
}

TEST_F(ReferenceParquet, WhatCannotBeComparedIsRefused) {
  EXPECT_THAT(Why({.path = Fixture("two_columns")}), HasSubstr("several columns are lists of floats, name one"));
  EXPECT_EQ(Why({.path = Fixture("two_columns"), .vectors_column = "text"}), "accepted");
  EXPECT_THAT(Why({.path = Fixture("ragged")}), HasSubstr("row 5 has 3 values, those before 4"));
  EXPECT_THAT(Why({.path = Fixture("null_vector")}), HasSubstr("null_vector.parquet: row 3 is null"));
  const std::string rubbish = Write("r/a.parquet", "PAR1");
  EXPECT_THAT(Why({.path = folder_ + "/r"}), HasSubstr(rubbish));
  Copy("no_vectors", "t/a.parquet");
  EXPECT_THAT(Why({.path = folder_ + "/t"}), HasSubstr("no column is a list of floats; there are: url"));
  const std::string npy = Npy("plain", "m/x.npy");
  EXPECT_THAT(Why({.path = npy, .vectors_column = "embedding"}), HasSubstr("a column of vectors was named, but .npy has none"));
  Copy("plain", "m/other.parquet");
  EXPECT_THAT(Why({.path = folder_ + "/m"}), HasSubstr("other.parquet: it stands among .npy files"));
  Copy("long", "w/a.parquet");
  Copy("plain", "w/b.parquet");
  EXPECT_THAT(Why({.path = folder_ + "/w"}), HasSubstr("b.parquet: its vectors have 4 values, those of other files 32"));
  // Tables beside pictures say nothing about vectors.
  Copy("metadata", "pictures/00000.parquet");
  Write("pictures/00000/0.png", "not read here");
  const auto pictures = FindReference({.path = folder_ + "/pictures"});
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  EXPECT_TRUE(pictures->pictures);
  EXPECT_THAT(Why({.path = folder_ + "/pictures", .names_column = "x"}), HasSubstr("only Parquet has columns"));
}

}  // namespace
}  // namespace promptsweep::motifs
