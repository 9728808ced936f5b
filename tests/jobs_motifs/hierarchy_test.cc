// Proves that the kind of thing a motif shows is found though no single word fits it, that one word does not make a kind, that
// a word which fits everything does not either, and that nothing is found where there is nothing.
#include "jobs/motifs/names/hierarchy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/jobs_motifs/kinds_toy.h"

namespace promptsweep::motifs {
namespace {

using testing::ElementsAre;

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
