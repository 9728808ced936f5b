// Proves that runs are paired exactly where they were asked the same, once each, and that groups are compared where too few are.
#include "jobs/motifs/statistics/pairing.h"

#include <gtest/gtest.h>

namespace promptsweep::motifs {
namespace {

using Keys = std::vector<uint64_t>;
using Both = std::vector<std::pair<uint32_t, uint32_t>>;

TEST(PairingTest, PairsEqualKeysInAnyOrder) {
  const Pairing pairing = PairUp({5, 9, 7, 2}, {7, 1, 5});
  EXPECT_EQ(pairing.pairs, (Both{{0, 2}, {2, 0}}));
  EXPECT_EQ(pairing.first_alone, 2u);
  EXPECT_EQ(pairing.second_alone, 1u);
}

TEST(PairingTest, LeavesAloneWhatIsNotKnownOrNotUnique) {
  // 3 comes twice in the first group, 4 twice in the second, 0 is not known.
  const Pairing pairing = PairUp({3, 3, 4, 0, 8}, {3, 4, 4, 0, 8});
  EXPECT_EQ(pairing.pairs, (Both{{4, 4}}));
  EXPECT_EQ(pairing.first_alone, 4u);
  EXPECT_EQ(pairing.second_alone, 4u);
  EXPECT_TRUE(PairUp(Keys{}, {1}).pairs.empty());
  EXPECT_TRUE(PairUp(Keys{}, Keys{}).pairs.empty());
}

TEST(PairingTest, TheModelCountsOnlyWhereAGroupHasSeveral) {
  const std::vector<Asked> one = {{1, 1, 10}, {2, 2, 10}}, other = {{1, 1, 20}, {2, 2, 20}};
  EXPECT_EQ(PairAsked(one, other, false).pairs.size(), 2u);
  const std::vector<Asked> both = {{1, 1, 10}, {1, 1, 20}}, turned = {{1, 1, 20}, {1, 1, 10}};
  EXPECT_EQ(PairAsked(both, turned, false).pairs, (Both{{0, 1}, {1, 0}}));
  EXPECT_EQ(PairAsked(one, both, false).pairs, (Both{{0, 0}}));
  EXPECT_TRUE(PairAsked({}, {}, true).pairs.empty());
}

TEST(PairingTest, SettingsCountUnlessTheyAreRemarksOfImportedRows) {
  // The rows of one import name their file in a further column.
  const std::vector<Asked> first = {{11, 1, 0}, {12, 2, 0}, {13, 3, 0}}, second = {{21, 1, 0}, {22, 2, 0}, {13, 3, 0}};
  EXPECT_EQ(PairAsked(first, second, false).pairs, (Both{{2, 2}}));
  EXPECT_EQ(PairAsked(first, second, true).pairs.size(), 3u);
  // Two settings a seed: only with the settings is a run known.
  const std::vector<Asked> settings = {{11, 1, 0}, {12, 1, 0}};
  EXPECT_EQ(PairAsked(settings, settings, true).pairs.size(), 2u);
  // Without a seed nothing is known, several models or not.
  const std::vector<Asked> unknown = {{0, 0, 10}, {0, 0, 20}};
  EXPECT_TRUE(PairAsked(unknown, unknown, true).pairs.empty());
}

TEST(PairingTest, HalfOfTheSmallerGroupIsWorthIt) {
  const auto pairing = [](size_t pairs, uint64_t first_alone, uint64_t second_alone) {
    return Pairing{Both(pairs), first_alone, second_alone};
  };
  EXPECT_TRUE(WorthPairing(pairing(5, 5, 900)));
  EXPECT_TRUE(WorthPairing(pairing(5, 900, 0)));
  EXPECT_FALSE(WorthPairing(pairing(5, 6, 900)));
  EXPECT_FALSE(WorthPairing(pairing(0, 0, 0)));
  EXPECT_FALSE(WorthPairing(pairing(0, 3, 3)));
}

}  // namespace
}  // namespace promptsweep::motifs
