// Proves that members are compared with every row of a reference whatever its files look like, that the nearest are named, that
// pictures are compared by hash, and that what cannot be compared is refused with a reason.
#include "jobs/motifs/copies/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/npy.h"
#include "jobs/motifs/copies/pictures.h"
#include "jobs/motifs/copies/reference_names.h"
#include "tests/jobs_motifs/pictures.h"

namespace promptsweep::motifs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kDim = 24;

class Reference : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/reference-", getpid());
    fs::create_directories(folder_);
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    x_ = Matrix(60, kDim);
    for (int64_t i = 0; i < x_.rows; ++i) {
      for (int j = 0; j < kDim; ++j) x_.row(i)[j] = normal(random);
      const float norm = std::sqrt(std::inner_product(x_.row(i), x_.row(i) + kDim, x_.row(i), 0.0f));
      for (int j = 0; j < kDim; ++j) x_.row(i)[j] /= norm;
      runs_.ordinal.push_back(1000 + i);
    }
    report_.add_motifs();
    report_.add_motifs();
    for (uint32_t i = 0; i < 60; ++i) members_[i % 3 == 0].push_back(i);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = folder_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // `rows` drawn vectors of any length; `copies` puts row i of x, stretched, at row at.
  std::string Vectors(const std::string& name, uint64_t rows, const std::vector<std::pair<uint64_t, int64_t>>& copies,
                      bool half) {
    std::mt19937_64 random(rows);
    std::normal_distribution<float> normal;
    std::vector<float> values(rows * kDim);
    for (float& v : values) v = normal(random);
    for (const auto& [at, i] : copies) {
      for (int j = 0; j < kDim; ++j) values[at * kDim + j] = 3 * x_.row(i)[j];
    }
    if (half) return Write(name, NpyHalfHeader(rows, kDim) + PackHalves(values.data(), values.size()));
    return Write(name, NpySingleHeader(rows, kDim) + std::string(reinterpret_cast<char*>(values.data()), 4 * values.size()));
  }
  absl::Status Match(const std::string& path, int threads = 1) {
    const auto files = FindReference({.path = path});
    if (!files.ok()) return files.status();
    if (const absl::Status status = CheckLength(*files, kDim, "toy"); !status.ok()) return status;
    return MatchVectors(*files, {}, x_, runs_, {members_[0], members_[1]}, threads, report_);
  }

  std::string folder_;
  Matrix x_;
  Runs runs_;
  RowSet members_[2];
  v1::MotifReport report_;
};

TEST_F(Reference, CopiesAreFoundWhereverTheyStand) {
  // Over several reads, in both kinds of floats, in the last, shorter tile.
  Vectors("v/a.npy", 20'000, {{0, 1}, {1023, 2}, {1024, 4}, {19'999, 5}}, true);
  Vectors("v/b.npy", 700, {{699, 7}, {3, 0}}, false);
  ASSERT_TRUE(Match(folder_ + "/v").ok());
  EXPECT_EQ(report_.reference().rows(), 20'700u);
  EXPECT_EQ(report_.motifs(0).reference().compared(), 40u);
  EXPECT_EQ(report_.motifs(0).reference().matches(), 5u);
  EXPECT_EQ(report_.motifs(1).reference().matches(), 1u);
  EXPECT_LT(report_.motifs(0).reference().share_low(), 0.125);
  EXPECT_GT(report_.motifs(0).reference().share_high(), 0.125);
  ASSERT_EQ(report_.motifs(1).reference().nearest_size(), 8);
  const v1::ReferencePair& pair = report_.motifs(1).reference().nearest(0);
  EXPECT_EQ(pair.ordinal(), 1000u);
  EXPECT_NEAR(pair.cosine(), 1, 1e-3);
  EXPECT_EQ(pair.reference(), folder_ + "/v/b.npy row 3");
  const std::string one = report_.SerializeAsString();
  ASSERT_TRUE(Match(folder_ + "/v", 3).ok());
  report_.mutable_reference()->set_rows(20'700);
  EXPECT_EQ(report_.SerializeAsString(), one);
}

TEST_F(Reference, RowsWithoutDirectionAreSkipped) {
  std::vector<float> values(3 * kDim, 0);
  values[kDim] = std::nanf("");
  std::copy_n(x_.row(0), kDim, values.begin() + 2 * kDim);
  const std::string path =
      Write("x.npy", NpySingleHeader(3, kDim) + std::string(reinterpret_cast<char*>(values.data()), 4 * values.size()));
  ASSERT_TRUE(Match(path).ok());
  EXPECT_EQ(report_.reference().rows(), 1u);
  EXPECT_EQ(report_.reference().skipped(), 2u);
  EXPECT_EQ(report_.motifs(1).reference().nearest(0).reference(), path + " row 2");
}

TEST_F(Reference, NamesStandBesideTheVectors) {
  const std::string path = Vectors("n.npy", 3, {{1, 0}}, true);
  const auto name = [&](uint64_t row) { return ReferenceNames(path, 3, {row}).at(row); };
  Write("n.txt", "one\ntwo\nthree\n");
  EXPECT_EQ(name(1), "two");
  Write("n.csv", "url,width\r\n\"a, \"\"b\"\"\",1\r\nhttp://two,2\r\n\"three\nlines\",3\r\n");
  EXPECT_EQ(name(0), "a, \"b\"");
  EXPECT_EQ(name(1), "http://two");
  EXPECT_EQ(name(2), "three\nlines");
  ASSERT_TRUE(Match(path).ok());
  EXPECT_EQ(report_.motifs(1).reference().nearest(0).reference(), "http://two");
  Write("n.csv", "only\none\n");
  EXPECT_EQ(name(1), path + " row 1");
  Write("n.csv", "a\n\nc");
  EXPECT_EQ(name(1), path + " row 1");
  EXPECT_EQ(name(2), "c");
}

TEST_F(Reference, WhatCannotBeComparedIsRefused) {
  const auto why = [&](const std::string& path) { return std::string(Match(path).message()); };
  EXPECT_THAT(why(folder_ + "/none"), HasSubstr("no such file"));
  EXPECT_THAT(why(folder_), HasSubstr("neither .npy or .parquet files nor pictures"));
  // The library that reads Parquet is not beside this program.
  EXPECT_THAT(why(Write("q/a.parquet", "PAR1")),
              AllOf(HasSubstr("Parquet cannot be read here"), HasSubstr("libpromptsweep_parquet.so")));
  EXPECT_THAT(why(folder_ + "/q"), HasSubstr("Parquet cannot be read here"));
  Vectors("q/b.npy", 2, {}, true);
  EXPECT_THAT(why(folder_ + "/q"), HasSubstr("a.parquet: it stands among .npy files"));
  EXPECT_THAT(why(Write("a.bin", "x")), HasSubstr("neither .npy nor .parquet nor a picture"));
  EXPECT_THAT(why(Write("bad.npy", "not numpy")), HasSubstr("not a .npy file"));
  EXPECT_THAT(why(Write("w/wide.npy", NpyHalfHeader(1, 2) + std::string(4, 'x'))),
              HasSubstr("have 2 values, those of embedder toy"));
  Vectors("w/other.npy", 2, {}, true);
  EXPECT_THAT(why(folder_ + "/w"), HasSubstr("those of other files"));
  EXPECT_EQ(Match(folder_ + "/none").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Reference, PicturesAreComparedByHash) {
  for (uint32_t i = 0; i < 12; ++i) {
    const Image image = Scene(120, 90, i);
    Write(absl::StrCat("p/", i % 3, "/", i, ".png"), *worker::EncodePng(image.rgb, 120, 90));
  }
  Write("p/rubbish.JPG", "rubbish");
  Write("p/plain.png", *worker::EncodePng(std::string(3 * 64 * 64, 'x'), 64, 64));
  const auto files = FindReference({.path = folder_ + "/p"});
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_TRUE(files->pictures);
  const ReferencePictures reference(*files, {}, 2);
  EXPECT_EQ(reference.Describe().rows(), 12u);
  EXPECT_EQ(reference.Describe().skipped(), 2u);
  std::vector<Picture> members;
  for (uint32_t i = 0; i < 20; ++i) members.push_back(PictureOf(Jpeg(Scene(120, 90, i + 8), 60), i, i));
  const v1::ReferenceMatch match = reference.Match(members);
  EXPECT_EQ(match.compared(), 20u);
  EXPECT_EQ(match.matches(), 4u);
  ASSERT_GE(match.nearest_size(), 4);
  std::vector<std::string> names;
  for (int i = 0; i < 4; ++i) names.push_back(fs::path(match.nearest(i).reference()).filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("8.png", "9.png", "10.png", "11.png"));
  EXPECT_LE(match.nearest(3).bits(), 31u);
}

}  // namespace
}  // namespace promptsweep::motifs
