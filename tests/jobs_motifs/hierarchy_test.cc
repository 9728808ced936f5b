// Proves that the kind of thing a motif shows is found though no single word fits it, that one word does not make a kind, that
// a word which fits everything does not either, and that nothing is found where there is nothing.
#include "jobs/motifs/hierarchy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

namespace promptsweep::motifs {
namespace {

using testing::ElementsAre;

constexpr int kDim = 96, kFamilies = 8, kKinds = 6, kLeaves = 9;

void Normalise(float* row) {
  double square = 0;
  for (int j = 0; j < kDim; ++j) square += row[j] * row[j];
  for (int j = 0; j < kDim; ++j) row[j] /= std::sqrt(square);
}

// Families of kinds of words; a word is its parent's direction and as much of its own. All share one direction besides.
struct Toy {
  Matrix words{kFamilies * (1 + kKinds * (1 + kLeaves)), kDim}, x{700, kDim};
  std::vector<int> parents;
  RowSet members, baseline;
  int kind = -1, family = -1, leaf = -1;
};

enum class Plant { kNothing, kKind, kLeaf, kHub };

Toy MakeToy(uint64_t seed, Plant plant) {
  Toy toy;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto add = [&](int parent, float of_parent) {
    const int at = toy.parents.size();
    toy.parents.push_back(parent);
    for (int j = 0; j < kDim; ++j) {
      toy.words.row(at)[j] = normal(random) / std::sqrt(kDim) + (parent < 0 ? 0 : of_parent * toy.words.row(parent)[j]);
    }
    Normalise(toy.words.row(at));
    return at;
  };
  for (int f = 0; f < kFamilies; ++f) {
    const int family = add(-1, 0);
    for (int k = 0; k < kKinds; ++k) {
      const int kind = add(family, 0.7f);
      for (int l = 0; l < kLeaves; ++l) {
        const int leaf = add(kind, 1);
        if (f == 3 && k == 2 && l == 4) toy.family = family, toy.kind = kind, toy.leaf = leaf;
      }
    }
  }
  const int hub = 5;
  for (uint32_t i = 0; i < 700; ++i) {
    (i < 120 ? toy.members : toy.baseline).push_back(i);
    for (int j = 0; j < kDim; ++j) {
      float v = normal(random) / std::sqrt(1 + 0.1f * j) / 4 + toy.words.row(hub)[j];
      if (i < 120 && plant == Plant::kKind) v += 0.5f * toy.words.row(toy.kind)[j];
      if (i < 120 && plant == Plant::kLeaf) v += 0.5f * (toy.words.row(toy.leaf)[j] - toy.words.row(toy.kind)[j]);
      if (plant == Plant::kHub) v += 3 * toy.words.row(hub)[j];
      toy.x.row(i)[j] = v;
    }
    Normalise(toy.x.row(i));
  }
  return toy;
}

std::vector<Kind> Found(const Toy& toy) {
  return Hierarchy(toy.words, toy.parents, toy.x, toy.baseline).StandingOut(toy.x, toy.members, toy.baseline);
}

TEST(Kinds, APlantedKindIsFoundAndFirst) {
  int first = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Toy toy = MakeToy(seed, Plant::kKind);
    const std::vector<Kind> kinds = Found(toy);
    first += !kinds.empty() && kinds[0].word == static_cast<uint32_t>(toy.kind);
  }
  EXPECT_GE(first, 18) << "of 20";
}

TEST(Kinds, NothingWhereThereIsNothing) {
  int said = 0;
  constexpr int kSets = 80;
  for (uint64_t seed = 100; seed < 100 + kSets; ++seed) said += !Found(MakeToy(seed, Plant::kNothing)).empty();
  EXPECT_LE(said, 9) << "of " << kSets;  // 5 % and chance: P(more) < 1 %
  RecordProperty("false_kinds_of_80", said);
  std::printf("%d of %d sets without a motif got a kind\n", said, kSets);
}

TEST(Kinds, AWordThatFitsEverythingIsNone) {
  int hub = 0;
  for (uint64_t seed = 300; seed < 320; ++seed) {
    for (const Kind& kind : Found(MakeToy(seed, Plant::kHub))) hub += kind.word <= 5;
  }
  EXPECT_LE(hub, 2);
}

TEST(Kinds, OneWordDoesNotMakeAKind) {
  int kind = 0;
  for (uint64_t seed = 400; seed < 420; ++seed) {
    const Toy toy = MakeToy(seed, Plant::kLeaf);
    for (const Kind& found : Found(toy)) kind += found.word == static_cast<uint32_t>(toy.kind);
  }
  EXPECT_LE(kind, 2) << "of 20";
}

TEST(Kinds, APathHoldsOnlyKindsThatStandOut) {
  const Toy toy = MakeToy(1, Plant::kKind);
  const Hierarchy hierarchy(toy.words, toy.parents, toy.x, toy.baseline);
  const uint32_t family = toy.family, kind = toy.kind, leaf = toy.leaf;
  EXPECT_THAT(hierarchy.Path(leaf, {}), ElementsAre(leaf));
  EXPECT_THAT(hierarchy.Path(leaf, {{kind, 5, 0.005}}), ElementsAre(kind, leaf));
  EXPECT_THAT(hierarchy.Path(leaf, {{kind, 5, 0.005}, {family, 4, 0.01}, {0, 4, 0.01}}), ElementsAre(family, kind, leaf));
}

TEST(Kinds, AFlatVocabularyHasNone) {
  Toy toy = MakeToy(1, Plant::kKind);
  toy.parents.assign(toy.parents.size(), -1);
  const Hierarchy hierarchy(toy.words, toy.parents, toy.x, toy.baseline);
  EXPECT_EQ(hierarchy.subtrees(), 0u);
  EXPECT_TRUE(hierarchy.StandingOut(toy.x, toy.members, toy.baseline).empty());
}

}  // namespace
}  // namespace promptsweep::motifs
