// Proves that shares by model have intervals that cover, that the test across models equals Cochran's Q and scipy's general
// association and keeps its level, and that shared, unique and vanished are said only where intervals allow.
#include "jobs/motifs/statistics/across.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "jobs/motifs/statistics/reach.h"

namespace promptsweep::motifs {
namespace {

nlohmann::json Reference() {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/across.json");
  return nlohmann::json::parse(file);
}

uint64_t Draw(std::mt19937_64& random, uint64_t runs, double p) {
  uint64_t in = 0;
  for (uint64_t i = 0; i < runs; ++i) in += (random() >> 11) * 0x1p-53 < p;
  return in;
}

Prevalence Of(uint64_t in, uint64_t of) { return PrevalenceOf({{in, of}}); }

TEST(AcrossTest, EqualsCochransQ) {
  ASSERT_EQ(Reference()["cochran"].size(), 4u);
  for (const auto& row : Reference()["cochran"]) {
    std::vector<std::vector<Share>> strata;
    for (const auto& block : row["x"]) {
      auto& stratum = strata.emplace_back();
      for (const auto& in : block) stratum.push_back({in.get<uint64_t>(), 1});
    }
    const Homogeneity test = TestHomogeneity(strata);
    EXPECT_NEAR(test.statistic, row["q"].get<double>(), 1e-9);
    EXPECT_NEAR(test.p, row["p"].get<double>(), 1e-9);
    EXPECT_EQ(test.degrees, static_cast<int>(strata[0].size()) - 1);
  }
}

TEST(AcrossTest, EqualsGeneralAssociation) {
  for (const auto& row : Reference()["general"]) {
    std::vector<std::vector<Share>> strata;
    for (size_t s = 0; s < row["of"].size(); ++s) {
      auto& stratum = strata.emplace_back();
      for (size_t m = 0; m < row["of"][s].size(); ++m) stratum.push_back({row["in"][s][m], row["of"][s][m]});
    }
    const Homogeneity test = TestHomogeneity(strata);
    EXPECT_NEAR(test.statistic, row["statistic"].get<double>(), 1e-8);
    EXPECT_NEAR(test.p, row["p"].get<double>(), 1e-9);
  }
}

TEST(AcrossTest, SaysNothingWhereNothingCanBeCompared) {
  for (const auto& strata : std::vector<std::vector<std::vector<Share>>>{
           {}, {{{3, 10}}}, {{{0, 10}, {0, 10}}}, {{{10, 10}, {4, 4}}}, {{{3, 10}, {0, 0}}, {{0, 0}, {2, 9}}}}) {
    const Homogeneity test = TestHomogeneity(strata);
    EXPECT_EQ(test.degrees, 0);
    EXPECT_EQ(test.p, 1);
  }
  // A model without runs is not counted.
  EXPECT_EQ(TestHomogeneity({{{3, 10}, {0, 0}, {9, 10}}}).degrees, 1);
}

TEST(AcrossTest, KeepsItsLevelWherePromptsDiffer) {
  std::mt19937_64 random(5);
  int rejected = 0;
  constexpr int kSets = 600;
  for (int set = 0; set < kSets; ++set) {
    std::vector<std::vector<Share>> strata(20);
    for (size_t s = 0; s < strata.size(); ++s) {
      for (int m = 0; m < 3; ++m) strata[s].push_back({Draw(random, 10, s % 2 ? 0.5 : 0.05), 10});
    }
    rejected += TestHomogeneity(strata).p <= 0.05;
  }
  EXPECT_GE(rejected, kSets * 0.02);
  EXPECT_LE(rejected, kSets * 0.08);
}

TEST(AcrossTest, IntervalsCoverWherePromptsDiffer) {
  std::mt19937_64 random(6);
  int covered = 0;
  constexpr int kSets = 600;
  for (int set = 0; set < kSets; ++set) {
    std::vector<Share> by_prompt;
    for (int p = 0; p < 60; ++p) by_prompt.push_back({Draw(random, 20, random() % 2 ? 0.4 : 0.1), 20});
    const Prevalence got = PrevalenceOf(by_prompt);
    covered += got.ci.low <= 0.25 && 0.25 <= got.ci.high;
  }
  EXPECT_GE(covered, kSets * 0.92);
  EXPECT_LE(covered, kSets * 0.98);
}

TEST(AcrossTest, SpreadFollowsTheIntervals) {
  EXPECT_EQ(SpreadOf({Of(300, 1000), Of(100, 1000)}, 0.001), Spread::kShared);
  EXPECT_EQ(SpreadOf({Of(300, 1000), Of(0, 1000), Of(2, 1000)}, 0.001), Spread::kUnique);
  // Too few runs to say that it is not there.
  EXPECT_EQ(SpreadOf({Of(300, 1000), Of(0, 8)}, 0.001), Spread::kUndecided);
  EXPECT_EQ(SpreadOf({Of(300, 1000), PrevalenceOf({})}, 0.001), Spread::kUndecided);
  EXPECT_EQ(SpreadOf({Of(300, 1000)}, 0.001), Spread::kUndecided);
  EXPECT_EQ(SpreadOf({Of(0, 100000), Of(0, 100000)}, 0.001), Spread::kNone);
  EXPECT_TRUE(Vanished(Of(300, 1000), Of(1, 1000), 0.001));
  EXPECT_FALSE(Vanished(Of(300, 1000), Of(150, 1000), 0.001));
  EXPECT_FALSE(Vanished(Of(1, 1000), Of(0, 1000), 0.001));
}

TEST(ReachTest, AllPromptsAlike) {
  const Reach reach = ReachOf(std::vector<Share>(50, {5, 20}));
  EXPECT_EQ(reach.reached, 50u);
  EXPECT_DOUBLE_EQ(reach.share, 1);
  EXPECT_NEAR(reach.entropy, 1, 1e-12);
  EXPECT_NEAR(reach.expected, 1 - std::pow(0.75, 20), 1e-12);
  EXPECT_LE(reach.excess_ci.low, reach.excess);
  EXPECT_GE(reach.excess_ci.high, reach.excess);
  EXPECT_LT(reach.share_ci.low, 1);
}

TEST(ReachTest, OnePromptHoldsItAll) {
  std::vector<Share> by_prompt(50, {0, 20});
  by_prompt[7].in = 20;
  const Reach reach = ReachOf(by_prompt);
  EXPECT_EQ(reach.reached, 1u);
  EXPECT_NEAR(reach.entropy, 0, 1e-12);
  EXPECT_LT(reach.excess_ci.high, 0);
  EXPECT_EQ(TopPrompts(by_prompt, 5), std::vector<size_t>{7});
}

TEST(ReachTest, ExcessCoversNothingWherePromptsDoNotMatter) {
  std::mt19937_64 random(9);
  int covered = 0;
  constexpr int kSets = 300;
  for (int set = 0; set < kSets; ++set) {
    std::vector<Share> by_prompt;
    for (int p = 0; p < 80; ++p) {
      const uint64_t runs = p % 2 ? 5 : 15;
      by_prompt.push_back({Draw(random, runs, 0.05), runs});
    }
    const Reach reach = ReachOf(by_prompt);
    covered += reach.excess_ci.low <= 0 && 0 <= reach.excess_ci.high;
  }
  EXPECT_GE(covered, kSets * 0.93);
}

TEST(ReachTest, FewPromptsSayNothing) {
  EXPECT_EQ(ReachOf({}).prompts, 0u);
  const Reach reach = ReachOf({{3, 10}, {0, 0}});
  EXPECT_EQ(reach.prompts, 1u);
  EXPECT_EQ(reach.entropy, 0);
  EXPECT_EQ(reach.share_ci.low, 0);
  EXPECT_EQ(reach.excess_ci.high, 1);
}

TEST(ReachTest, TopPromptsAreThoseSurelyHigh) {
  EXPECT_EQ(TopPrompts({{1, 1}, {40, 50}, {0, 9}, {40, 50}, {3, 50}}, 3), (std::vector<size_t>{1, 3, 0}));
}

}  // namespace
}  // namespace promptsweep::motifs
