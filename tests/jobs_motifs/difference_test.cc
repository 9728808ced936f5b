// Proves that differences between two sides have their published intervals, that these cover, and that McNemar's exact test is
// the binomial one and the stratified Fisher test of one stratum per pair.
#include "jobs/motifs/statistics/difference.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

namespace promptsweep::motifs {
namespace {

bool Happens(std::mt19937_64& random, double p) { return (random() >> 11) * 0x1p-53 < p; }

TEST(DifferenceTest, EqualsNewcombesExamples) {
  // Newcombe (1998), table II, method 10.
  const Difference a = UnpairedDifference({56, 70}, {48, 80});
  EXPECT_NEAR(a.value, 0.2, 1e-12);
  EXPECT_NEAR(a.ci.low, 0.0524, 5e-5);
  EXPECT_NEAR(a.ci.high, 0.3339, 5e-5);
  const Difference b = UnpairedDifference({9, 10}, {3, 10});
  EXPECT_NEAR(b.ci.low, 0.1705, 5e-5);
  EXPECT_NEAR(b.ci.high, 0.8090, 5e-5);
  const Difference wide = UnpairedDifference({56, 70}, {48, 80}, 2, 2);
  EXPECT_LT(wide.ci.low, a.ci.low);
  EXPECT_GT(wide.ci.high, a.ci.high);
  EXPECT_EQ(UnpairedDifference({0, 0}, {3, 10}).ci.low, -1);
}

TEST(DifferenceTest, McNemarEqualsScipyAndFisherByPair) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/across.json");
  const nlohmann::json reference = nlohmann::json::parse(file)["mcnemar"];
  ASSERT_GE(reference.size(), 6u);
  for (const auto& row : reference) {
    const Pairs pairs{5, row["first"], row["second"], 100};
    EXPECT_NEAR(McNemarGreater(pairs), row["greater"].get<double>(), 1e-10);
    EXPECT_NEAR(McNemar(pairs), row["two_sided"].get<double>(), 1e-10);
  }
  std::vector<Counts> strata(14, {1, 1, 0, 1});
  strata.resize(18, {0, 1, 1, 1});
  strata.resize(30, {1, 1, 1, 1});
  strata.resize(70, {0, 1, 0, 1});
  EXPECT_NEAR(McNemarGreater({12, 14, 4, 40}), StratifiedFisherGreater(strata), 1e-12);
}

TEST(DifferenceTest, IntervalsCover) {
  std::mt19937_64 random(3);
  constexpr int kSets = 1000;
  int paired = 0, unpaired = 0;
  for (int set = 0; set < kSets; ++set) {
    // First .3, second .2, and pairs that agree more often than chance.
    Pairs pairs;
    Share first, second;
    for (int i = 0; i < 80; ++i) {
      const bool one = Happens(random, 0.3), two = Happens(random, one ? 0.5 : 0.05 / 0.7);
      ++(one ? two ? pairs.both : pairs.first_only : two ? pairs.second_only : pairs.neither);
      first.in += Happens(random, 0.3);
      second.in += Happens(random, 0.2);
    }
    first.of = second.of = 80;
    const Difference p = PairedDifference(pairs), u = UnpairedDifference(first, second);
    paired += p.ci.low <= 0.1 && 0.1 <= p.ci.high;
    unpaired += u.ci.low <= 0.1 && 0.1 <= u.ci.high;
  }
  for (const int covered : {paired, unpaired}) {
    EXPECT_GE(covered, kSets * 0.93);
    EXPECT_LE(covered, kSets * 0.975);
  }
}

TEST(DifferenceTest, TurnedSidesTurnTheSign) {
  const Difference one = PairedDifference({3, 9, 2, 40}), two = PairedDifference({3, 2, 9, 40});
  EXPECT_DOUBLE_EQ(one.value, -two.value);
  EXPECT_DOUBLE_EQ(one.ci.low, -two.ci.high);
  EXPECT_EQ(McNemarGreater({3, 0, 0, 9}), 1);
  EXPECT_EQ(PairedDifference({}).ci.high, 1);
  const Difference all = PairedDifference({0, 20, 0, 0});
  EXPECT_LT(all.ci.low, 1);
  EXPECT_EQ(all.ci.high, 1);
}

}  // namespace
}  // namespace promptsweep::motifs
