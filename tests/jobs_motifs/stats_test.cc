// Proves that intervals, exact tests and adjustments equal scipy's, and that the remaining formulas have their known values.
#include "jobs/motifs/statistics/stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

namespace promptsweep::motifs {
namespace {

nlohmann::json Reference() {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/reference.json");
  return nlohmann::json::parse(file);
}

TEST(Stats, FisherEqualsScipy) {
  const nlohmann::json reference = Reference();
  ASSERT_GT(reference["fisher"].size(), 40u);
  for (const auto& row : reference["fisher"]) {
    const auto t = row["table"].get<std::vector<uint64_t>>();
    const double expected = row["p"].get<double>();
    const double p = FisherGreater({t[0], t[1], t[2], t[3]});
    EXPECT_NEAR(p, expected, 1e-9) << row["table"];
    // Small ones in relative terms: q-values are made of them.
    if (expected > 1e-290) {
      EXPECT_NEAR(p / expected, 1, 1e-6) << row["table"];
    }
  }
}

TEST(Stats, IntervalsEqualScipy) {
  for (const auto& row : Reference()["shares"]) {
    const uint64_t k = row["k"], n = row["n"];
    const Interval wilson = Wilson(k, n), exact = ClopperPearson(k, n);
    EXPECT_NEAR(wilson.low, row["wilson"][0].get<double>(), 1e-9) << k << "/" << n;
    EXPECT_NEAR(wilson.high, row["wilson"][1].get<double>(), 1e-9) << k << "/" << n;
    EXPECT_NEAR(exact.low, row["exact"][0].get<double>(), 1e-9) << k << "/" << n;
    EXPECT_NEAR(exact.high, row["exact"][1].get<double>(), 1e-9) << k << "/" << n;
  }
  EXPECT_EQ(Wilson(0, 0).high, 1);
}

TEST(Stats, BenjaminiHochbergEqualsScipy) {
  const nlohmann::json reference = Reference();
  const auto q = BenjaminiHochberg(reference["bh"]["p"].get<std::vector<double>>());
  EXPECT_THAT(q, testing::Pointwise(testing::DoubleNear(1e-12), reference["bh"]["q"].get<std::vector<double>>()));
  EXPECT_TRUE(BenjaminiHochberg({}).empty());
}

TEST(Stats, FisherHoldsForBillions) {
  // A share of 2e-6 against 1e-6 of a billion runs each: 2000 against 1000.
  const double p = FisherGreater({2000, 1'000'000'000, 1000, 1'000'000'000});
  EXPECT_GT(p, 0);
  EXPECT_LT(p, 1e-70);
  EXPECT_NEAR(FisherGreater({1000, 1'000'000'000, 1000, 1'000'000'000}), 0.5, 0.02);
}

TEST(Stats, OneStratumIsFisherAndBalancedStrataAreNotLargerThanSimulated) {
  EXPECT_DOUBLE_EQ(StratifiedFisherGreater({{7, 50, 1, 50}}), FisherGreater({7, 50, 1, 50}));
  const std::vector<Counts> strata{{3, 50, 1, 50}, {9, 50, 3, 50}, {0, 20, 2, 40}, {4, 10, 0, 30}};
  const double p = StratifiedFisherGreater(strata);
  std::mt19937_64 random(5);
  int reached = 0;
  constexpr int kDraws = 200'000;
  for (int draw = 0; draw < kDraws; ++draw) {
    uint64_t sum = 0;
    for (const Counts& c : strata) {
      // Sequential draws without replacement of the runs inside.
      uint64_t targets = c.target, all = c.target + c.baseline;
      for (uint64_t in = c.target_in + c.baseline_in; in > 0; --in, --all) {
        if (random() % all < targets) ++sum, --targets;
      }
    }
    reached += sum >= 16;
  }
  EXPECT_NEAR(p, static_cast<double>(reached) / kDraws, 5 * std::sqrt(p / kDraws));
}

TEST(Stats, LiftIsSmoothedRatioWithKatzInterval) {
  const Lift lift = KatzLift({620, 2000, 44, 2000});
  const double ratio = (620.5 / 2000.5) / (44.5 / 2000.5);
  EXPECT_NEAR(lift.ratio, ratio, 1e-12);
  const double se = std::sqrt(1 / 620.5 - 1 / 2000.5 + 1 / 44.5 - 1 / 2000.5);
  EXPECT_NEAR(lift.ci.low, ratio * std::exp(-1.959963984540054 * se), 1e-9);
  EXPECT_NEAR(lift.ci.high, ratio * std::exp(1.959963984540054 * se), 1e-9);
  EXPECT_LT(KatzLift({620, 2000, 44, 2000}, 1, 4).ci.low, lift.ci.low);
  EXPECT_TRUE(std::isfinite(KatzLift({5, 5, 0, 0}).ci.high));
}

TEST(Stats, DesignEffectOfPromptsThatAlwaysOrNeverShowIt) {
  // 10 prompts x 20 runs, half of the prompts always: variance between prompts is 20 times (and 10/9) the binomial one.
  std::vector<double> in, of;
  for (int g = 0; g < 10; ++g) in.push_back(g % 2 ? 20 : 0), of.push_back(20);
  EXPECT_NEAR(DesignEffect(in, of), 20 * 10.0 / 9, 1e-9);
  EXPECT_EQ(DesignEffect({5, 5, 5}, {20, 20, 20}), 1);
  EXPECT_EQ(DesignEffect({5}, {20}), 1);
}

// Share of intervals that hold the truth where prompts differ (beta-distributed shares, intra-class correlation .05 and .2).
TEST(Stats, WilsonWithDesignEffectCoversWhereTheNaiveOneDoesNot) {
  for (const double icc : {0.05, 0.2}) {
    std::mt19937_64 random(11);
    const double p = 0.1, a = p * (1 / icc - 1), b = (1 - p) * (1 / icc - 1);
    std::gamma_distribution<double> ga(a), gb(b);
    int covered = 0, naive = 0;
    constexpr int kSets = 1000;
    for (int set = 0; set < kSets; ++set) {
      std::vector<double> in, of;
      double k = 0;
      for (int g = 0; g < 100; ++g) {
        const double x = ga(random), y = gb(random);
        std::binomial_distribution<int> draw(20, x / (x + y));
        in.push_back(draw(random));
        of.push_back(20);
        k += in.back();
      }
      const double deff = DesignEffect(in, of);
      const Interval wide = Wilson(k / deff, 2000 / deff), narrow = Wilson(k, 2000);
      covered += wide.low <= p && p <= wide.high;
      naive += narrow.low <= p && p <= narrow.high;
    }
    EXPECT_GT(covered, 0.92 * kSets) << icc;
    EXPECT_LT(naive, 0.90 * kSets) << icc;
  }
}

}  // namespace
}  // namespace promptsweep::motifs
