// Proves that a motif is named by the word that sets it apart, not by a word that fits everything, and that exemplars are
// its middle, its variety and its edge.
#include "jobs/motifs/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "jobs/motifs/regions.h"

namespace promptsweep::motifs {
namespace {

constexpr int kDim = 64, kWords = 200, kHub = 7, kPlanted = 42;

struct Toy {
  Matrix x{600, kDim}, words{kWords, kDim};
  std::vector<std::string> labels;
  RowSet members, baseline;
};

void Normalise(float* row) {
  const double norm = std::sqrt(std::inner_product(row, row + kDim, row, 0.0));
  for (int j = 0; j < kDim; ++j) row[j] /= norm;
}

// 100 members near the planted word, 500 others; everything also points to the hub word.
Toy MakeToy(uint64_t seed, bool plant) {
  Toy toy;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (int l = 0; l < kWords; ++l) {
    toy.labels.push_back("word" + std::to_string(l));
    for (int j = 0; j < kDim; ++j) toy.words.row(l)[j] = normal(random);
    Normalise(toy.words.row(l));
  }
  for (uint32_t i = 0; i < 600; ++i) {
    (i < 100 ? toy.members : toy.baseline).push_back(i);
    for (int j = 0; j < kDim; ++j) {
      toy.x.row(i)[j] =
          2 * toy.words.row(kHub)[j] + 0.1f * normal(random) + (plant && i < 100 ? toy.words.row(kPlanted)[j] : 0.0f);
    }
    Normalise(toy.x.row(i));
  }
  return toy;
}

TEST(Names, ContrastBeatsAWordThatFitsEverything) {
  int right = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Toy toy = MakeToy(seed, true);
    const auto names = NameMotif(toy.x, toy.members, toy.baseline, toy.words, toy.labels);
    right += !names.empty() && names[0].label == "word42";
    ASSERT_LE(names.size(), 5u);
    for (size_t i = 1; i < names.size(); ++i) EXPECT_GE(names[i - 1].z, names[i].z);
    // By raw similarity the hub would win.
    const auto mean = MeanDirection(toy.x, toy.members);
    EXPECT_GT(CosineTo(toy.words, kHub, mean), CosineTo(toy.words, kPlanted, mean));
  }
  EXPECT_GE(right, 18);
}

TEST(Names, AbstainsWhereNothingStandsOut) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Toy toy = MakeToy(seed, false);
    EXPECT_TRUE(NameMotif(toy.x, toy.members, toy.baseline, toy.words, toy.labels).empty());
  }
}

TEST(Names, NeedsAVocabularyAndABaseline) {
  const Toy toy = MakeToy(1, true);
  EXPECT_TRUE(NameMotif(toy.x, toy.members, {}, toy.words, toy.labels).empty());
  EXPECT_TRUE(NameMotif(toy.x, toy.members, toy.baseline, Matrix(0, kDim), {}).empty());
  EXPECT_TRUE(NameMotif(toy.x, toy.members, toy.baseline, Matrix(3, kDim + 1), {"a", "b", "c"}).empty());
}

TEST(Exemplars, AreMiddleVarietyAndEdge) {
  const Toy toy = MakeToy(3, true);
  const auto centre = MeanDirection(toy.x, toy.members);
  const Exemplars chosen = ChooseExemplars(toy.x, toy.members, centre);
  std::vector<double> cosines;
  for (const uint32_t i : toy.members) cosines.push_back(CosineTo(toy.x, i, centre));
  std::vector<double> sorted = cosines;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(cosines[chosen.medoid], sorted.back());
  ASSERT_EQ(chosen.diverse.size(), 8u);
  RowSet all = chosen.diverse;
  all.push_back(chosen.medoid);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  for (const uint32_t i : chosen.diverse) EXPECT_GE(cosines[i], sorted[49]);
  ASSERT_EQ(chosen.borderline.size(), 4u);
  EXPECT_EQ(cosines[chosen.borderline[0]], sorted[0]);
}

TEST(Exemplars, OfFewMembers) {
  const Toy toy = MakeToy(3, true);
  const Exemplars chosen = ChooseExemplars(toy.x, {5}, MeanDirection(toy.x, {5}));
  EXPECT_EQ(chosen.medoid, 5u);
  EXPECT_TRUE(chosen.diverse.empty());
  EXPECT_TRUE(chosen.borderline.empty());
}

}  // namespace
}  // namespace promptsweep::motifs
