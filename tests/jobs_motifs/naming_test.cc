// Proves that a motif is named by its word below the kinds that stand out, by a kind where no word does, and not at all where
// nothing stands out.
#include "jobs/motifs/names/naming.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/jobs_motifs/kinds_toy.h"

namespace promptsweep::motifs {
namespace {

std::vector<std::string> Labels(const Toy& toy) {
  std::vector<std::string> labels;
  for (int64_t l = 0; l < toy.words.rows; ++l) labels.push_back(absl::StrCat("word", l));
  return labels;
}

std::vector<MotifName> NamesOf(const Toy& toy) {
  const Hierarchy hierarchy(toy.words, toy.parents, toy.x, toy.baseline);
  return NameWithKinds(toy.x, toy.members, toy.baseline, toy.words, Labels(toy), &hierarchy);
}

std::string Word(int word) { return absl::StrCat("word", word); }

// Moves the members along the sum of what is each word's own below the kind, and a little along the kind: every word fits a
// little.
Toy WithoutOneWord(uint64_t seed) {
  Toy toy = MakeToy(seed, Plant::kNothing);
  std::vector<float> common(kDim, 0);
  for (size_t l = 0; l < toy.parents.size(); ++l) {
    if (toy.parents[l] != toy.kind) continue;
    const float *leaf = toy.words.row(l), *kind = toy.words.row(toy.kind);
    float along = 0;
    for (int j = 0; j < kDim; ++j) along += leaf[j] * kind[j];
    for (int j = 0; j < kDim; ++j) common[j] += leaf[j] - along * kind[j];
  }
  Normalise(common.data());
  for (int j = 0; j < kDim; ++j) common[j] += 0.1f * toy.words.row(toy.kind)[j];
  for (const uint32_t i : toy.members) {
    for (int j = 0; j < kDim; ++j) toy.x.row(i)[j] += 0.5f * common[j];
    Normalise(toy.x.row(i));
  }
  return toy;
}

TEST(Naming, WhereNoWordStandsOutTheKindDoes) {
  int kinds = 0, right = 0, words = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Toy toy = WithoutOneWord(seed);
    const std::vector<MotifName> names = NamesOf(toy);
    words += !names.empty() && !names[0].kind;
    if (names.empty() || !names[0].kind) continue;
    ASSERT_EQ(names.size(), 1u);
    ++kinds;
    right += names[0].label.label == Word(toy.kind);
    EXPECT_GT(names[0].label.standing, 2);
    EXPECT_EQ(names[0].label.z, 0);
    for (const std::string& above : names[0].path) EXPECT_EQ(above, Word(toy.family));
  }
  std::printf("of 40 motifs that every word of a kind fits a little %d got a kind, %d rightly, %d a word\n", kinds, right, words);
  EXPECT_GE(kinds, 12) << "of 40";
  EXPECT_GE(right, kinds - 2);
}

TEST(Naming, AWordComesBelowTheKindsThatStandOut) {
  int words = 0, below = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Toy toy = MakeToy(seed, Plant::kKind);
    // The word itself besides.
    for (const uint32_t i : toy.members) {
      for (int j = 0; j < kDim; ++j) toy.x.row(i)[j] += 0.5f * toy.words.row(toy.leaf)[j];
      Normalise(toy.x.row(i));
    }
    const std::vector<MotifName> names = NamesOf(toy);
    if (names.empty() || names[0].label.label != Word(toy.leaf)) continue;
    ++words;
    EXPECT_FALSE(names[0].kind);
    below += !names[0].path.empty() && names[0].path.back() == Word(toy.kind);
  }
  EXPECT_GE(words, 18) << "of 20";
  EXPECT_GE(below, 15);
}

struct Given {
  int kinds = 0, words = 0;
};

Given Count(int sets, uint64_t first, const std::function<void(Toy&)>& change) {
  Given given;
  for (uint64_t seed = first; seed < first + sets; ++seed) {
    Toy toy = MakeToy(seed, Plant::kNothing);
    change(toy);
    const std::vector<MotifName> names = NamesOf(toy);
    if (names.empty()) continue;
    (names[0].kind ? given.kinds : given.words) += 1;
  }
  std::printf("of %d sets without a motif %d got a kind, %d a word\n", sets, given.kinds, given.words);
  return given;
}

TEST(Naming, WhereNothingStandsOutThereIsNoNameAndNoKind) {
  const Given given = Count(200, 1000, [](Toy&) {});
  EXPECT_LE(given.kinds, 18) << "of 200";  // 5 % and chance: P(more) < 1 %
  EXPECT_LE(given.words, 18) << "of 200";
}

TEST(Naming, NeighboursOfARunThatShowNothingGetNoNameAndNoKind) {
  const Given given = Count(100, 3000, [](Toy& toy) {
    std::vector<std::pair<float, uint32_t>> order;
    for (uint32_t i = 0; i < toy.x.rows; ++i) {
      float cosine = 0;
      for (int j = 0; j < kDim; ++j) cosine += toy.x.row(i)[j] * toy.x.row(0)[j];
      order.emplace_back(-cosine, i);
    }
    std::sort(order.begin(), order.end());
    toy.members.clear(), toy.baseline.clear();
    for (size_t i = 0; i < order.size(); ++i) (i < 60 ? toy.members : toy.baseline).push_back(order[i].second);
    std::sort(toy.members.begin(), toy.members.end());
    std::sort(toy.baseline.begin(), toy.baseline.end());
  });
  EXPECT_LE(given.kinds, 11) << "of 100";
  EXPECT_LE(given.words, 11) << "of 100";
}

TEST(Naming, WithoutAHierarchyThereAreNoKinds) {
  const Toy toy = MakeToy(3, Plant::kKind);
  const std::vector<MotifName> names = NameWithKinds(toy.x, toy.members, toy.baseline, toy.words, Labels(toy), nullptr);
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names[0].label.label, Word(toy.kind));
  for (const MotifName& name : names) {
    EXPECT_TRUE(name.path.empty());
    EXPECT_FALSE(name.kind);
  }
}

}  // namespace
}  // namespace promptsweep::motifs
