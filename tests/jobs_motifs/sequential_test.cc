// Proves that intervals cover what they promise (by exact enumeration, peeking included), that the naive way fails, and that
// predicted numbers of runs are enough and not too many.
#include "jobs/motifs/sequential.h"

#include <gtest/gtest.h>

#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "jobs/motifs/runs_needed.h"

namespace promptsweep::motifs {
namespace {

Interval Jeffreys(double k, double n) {
  return {k > 0 ? boost::math::ibeta_inv(k + 0.5, n - k + 0.5, 0.025) : 0,
          k < n ? boost::math::ibeta_inv(k + 0.5, n - k + 0.5, 0.975) : 1};
}

// P(the interval of k of n holds p), exactly.
template <typename Method>
double Coverage(uint64_t n, double p, Method method) {
  const boost::math::binomial runs(static_cast<double>(n), p);
  double covered = 0;
  for (uint64_t k = 0; k <= n; ++k) {
    const Interval ci = method(k, n);
    if (ci.low <= p && p <= ci.high) covered += boost::math::pdf(runs, static_cast<double>(k));
  }
  return covered;
}

// The exact coverage at these points; simulations of the same scatter by .007 around it.
TEST(Coverage, OfSharesIsAsTabulated) {
  struct Row {
    uint64_t n;
    double p, wilson, exact, jeffreys;
  };
  for (const Row& row : {Row{200, .005, .920, .982, .982}, Row{1000, .005, .963, .980, .932}, Row{1000, .02, .952, .963, .963},
                         Row{1000, .15, .952, .955, .951}}) {
    const auto n = [](uint64_t v) { return static_cast<double>(v); };
    EXPECT_NEAR(Coverage(row.n, row.p, [&](uint64_t k, uint64_t m) { return Wilson(n(k), n(m)); }), row.wilson, .01) << row.n << " " << row.p;
    EXPECT_NEAR(Coverage(row.n, row.p, [&](uint64_t k, uint64_t m) { return ClopperPearson(k, m); }), row.exact, .01) << row.n << " " << row.p;
    EXPECT_NEAR(Coverage(row.n, row.p, [&](uint64_t k, uint64_t m) { return Jeffreys(n(k), n(m)); }), row.jeffreys, .01) << row.n << " " << row.p;
  }
}

// P(any of 200 looks, 25 runs apart, misses p), exactly: the distribution of the count among walks that never missed.
template <typename Method>
double EverMisses(double p, Method method) {
  constexpr int kLooks = 200, kStep = 25;
  const boost::math::binomial step(kStep, p);
  std::vector<double> pmf;
  for (int k = 0; k <= kStep; ++k) pmf.push_back(boost::math::pdf(step, k));
  std::vector<double> alive{1};
  for (int look = 1; look <= kLooks; ++look) {
    std::vector<double> next(alive.size() + kStep, 0);
    for (size_t i = 0; i < alive.size(); ++i) {
      if (alive[i] < 1e-14) continue;
      for (int k = 0; k <= kStep; ++k) next[i + k] += alive[i] * pmf[k];
    }
    for (size_t k = 0; k < next.size(); ++k) {
      if (next[k] < 1e-14) continue;
      const Interval ci = method(static_cast<double>(k), static_cast<double>(look * kStep));
      if (ci.low > p || ci.high < p) next[k] = 0;
    }
    alive = std::move(next);
  }
  double left = 0;
  for (const double a : alive) left += a;
  return 1 - left;
}

TEST(ConfidenceSequence, HoldsAtTwoHundredLooksWhereWilsonDoesNot) {
  for (const double p : {.02, .15}) {
    const double sequence = EverMisses(p, [](double k, double n) { return ConfidenceSequence(k, n, 0.05); });
    const double naive = EverMisses(p, [](double k, double n) { return Wilson(k, n); });
    EXPECT_LE(sequence, .05) << p;
    EXPECT_GT(naive, .3) << p;
    const double planned = EverMisses(p, [](double k, double n) { return PlannedLook(k, n, 200); });
    EXPECT_LE(planned, .05) << p;
  }
}

TEST(ConfidenceSequence, EqualsTheReference) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/sequential.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_GT(reference["sequences"].size(), 30u);
  for (const auto& row : reference["sequences"]) {
    const Interval ci = ConfidenceSequence(row["k"], row["n"], row["error"]);
    EXPECT_NEAR(ci.low, row["low"].get<double>(), 1e-9) << row;
    EXPECT_NEAR(ci.high, row["high"].get<double>(), 1e-9) << row;
  }
  ASSERT_GT(reference["mixtures"].size(), 30u);
  for (const auto& row : reference["mixtures"]) {
    const double expected = row["log"];
    EXPECT_NEAR(LogBetaMixture(row["k"], row["n"], row["p"], row["a"], row["b"]), expected, 1e-6) << row;
  }
}

TEST(ConfidenceSequence, EndsAreRootsAtAnyCount) {
  for (const double n : {1.0, 7.0, 1e3, 1e6, 1e9}) {
    for (const double share : {0.0, 1e-9, 1e-3, .3, .999, 1.0}) {
      const double k = std::floor(share * n);
      const Interval ci = ConfidenceSequence(k, n, .01);
      EXPECT_LE(ci.low, k / n);
      EXPECT_GE(ci.high, k / n);
      for (const double p : {ci.low, ci.high}) {
        if (p <= 0 || p >= 1) continue;
        EXPECT_NEAR(LogBetaMixture(k, n, p), std::log(100), 1e-3) << k << "/" << n;
      }
    }
  }
  EXPECT_EQ(ConfidenceSequence(0, 0).high, 1);
}

// Prompts with shares of their own, asked in rounds: no design effect is needed for their mean.
TEST(ConfidenceSequence, HoldsForTheMeanOfFixedPrompts) {
  std::mt19937_64 random(3);
  int missed = 0;
  constexpr int kSets = 400;
  const std::vector<double> shares{.02, .02, .02, .9};
  for (int set = 0; set < kSets; ++set) {
    double k = 0, n = 0;
    bool misses = false;
    for (int look = 0; look < 40; ++look) {
      for (const double p : shares) k += std::binomial_distribution<int>(20, p)(random);
      n += 80;
      const Interval ci = ConfidenceSequence(k, n);
      misses |= ci.low > .24 || ci.high < .24;
    }
    missed += misses;
  }
  EXPECT_LE(missed, .05 * kSets);
}

TEST(PromptSequence, HoldsForPromptsDrawnAtRandomHoweverAlikeTheirRuns) {
  for (const double icc : {0.0001, .05, .2, .9}) {
    std::mt19937_64 random(5);
    const double p = .1;
    std::gamma_distribution<double> ga(p * (1 / icc - 1)), gb((1 - p) * (1 / icc - 1));
    int missed = 0;
    constexpr int kSets = 200;
    for (int set = 0; set < kSets; ++set) {
      std::vector<double> in, of;
      bool misses = false;
      for (int look = 0; look < 20; ++look) {
        for (int g = 0; g < 10; ++g) {
          const double x = ga(random), y = gb(random);
          in.push_back(std::binomial_distribution<int>(20, x + y > 0 ? x / (x + y) : 0)(random));
          of.push_back(20);
        }
        const Interval ci = PromptSequence(in, of);
        misses |= ci.low > p || ci.high < p;
      }
      missed += misses;
    }
    EXPECT_LE(missed, .07 * kSets) << icc;
  }
}

TEST(Coverage, WithDesignEffectIsKeptWherePromptsDiffer) {
  for (const double icc : {0.0, .05, .2}) {
    std::mt19937_64 random(11);
    const double p = .1;
    int covered = 0;
    constexpr int kSets = 2000;
    for (int set = 0; set < kSets; ++set) {
      std::vector<double> in, of;
      double k = 0;
      for (int g = 0; g < 100; ++g) {
        double share = p;
        if (icc > 0) {
          const double x = std::gamma_distribution<double>(p * (1 / icc - 1))(random);
          const double y = std::gamma_distribution<double>((1 - p) * (1 / icc - 1))(random);
          share = x / (x + y);
        }
        in.push_back(std::binomial_distribution<int>(20, share)(random));
        of.push_back(20);
        k += in.back();
      }
      const double deff = DesignEffect(in, of);
      const Interval ci = Wilson(k / deff, 2000 / deff);
      covered += ci.low <= p && p <= ci.high;
    }
    EXPECT_GE(covered, .93 * kSets) << icc;
  }
}

TEST(RunsNeeded, PredictedRunsAreEnoughAndNotTooMany) {
  for (const double p : {.005, .02, .15, .5}) {
    for (const uint64_t s : {1u, 8u, 10u, 20u}) {
      const uint64_t n = RunsToSee(p, s);
      const auto chance = [&](uint64_t m) {
        return m < s ? 0 : 1 - (s == 0 ? 0 : boost::math::cdf(boost::math::binomial(static_cast<double>(m), p), s - 1.0));
      };
      EXPECT_GE(chance(n), .95);
      EXPECT_LT(chance(n - 1), .95);
      // The closed form of the design.
      const double chi = boost::math::quantile(boost::math::chi_squared(2.0 * s), .95) / 2;
      if (p < .03) {
        EXPECT_NEAR(static_cast<double>(n) * p / chi, 1, .02);
      }
      EXPECT_NEAR(UnseenBelow(n, s), p, p * (p < .1 ? .05 : .4));
    }
  }
  EXPECT_EQ(UnseenBelow(3, 8), 1);
}

TEST(RunsNeeded, WidthsAreReachedAndMatchTheTable) {
  for (const double p : {.005, .02, .05, .15}) {
    const uint64_t n = RunsToHalfwidth(p, p / 4);
    EXPECT_NEAR(static_cast<double>(n), 61.5 * (1 - p) / p, .06 * 61.5 / p) << p;
    const Interval ci = ConfidenceSequence(p * 1e4, 1e4);
    EXPECT_LE(RunsToHalfwidthAnytime(p, std::max(p - ci.low, ci.high - p) * 1.000001), 10000u);
    EXPECT_GT(RunsToHalfwidthAnytime(p, p / 4), 2 * n);
  }
  EXPECT_EQ(RunsToHalfwidth(.1, .01, 3), 3 * RunsToHalfwidth(.1, .01));
  EXPECT_EQ(RunsToHalfwidth(.5, 1e-9), 0u);
  EXPECT_EQ(RunsToDecideAnytime(.1, .1), 0u);
  EXPECT_LT(RunsToDecideAnytime(.3, .1), RunsToDecideAnytime(.12, .1));
}

// Detection by the exact test at the predicted numbers, in 95 of 100 simulations.
TEST(RunsNeeded, TellApartHasItsPower) {
  std::mt19937_64 random(17);
  for (const auto& [pt, pb, ratio, level] : std::vector<std::tuple<double, double, double, double>>{
           {.05, .01, 1, .05}, {.3, .2, 1, .05}, {.02, .005, 2, .0005}, {.1, .02, .5, .001}}) {
    const uint64_t n = RunsToTellApart(pt, pb, ratio, level), m = static_cast<uint64_t>(std::llround(ratio * static_cast<double>(n)));
    int detected = 0;
    constexpr int kSets = 2000;
    for (int set = 0; set < kSets; ++set) {
      const uint64_t k = std::binomial_distribution<uint64_t>(n, pt)(random), b = std::binomial_distribution<uint64_t>(m, pb)(random);
      detected += FisherGreater({k, n, b, m}) <= level;
    }
    EXPECT_NEAR(static_cast<double>(detected) / kSets, .95, .03) << pt << " " << pb << " n " << n;
  }
  EXPECT_EQ(RunsToTellApart(.1, .1), 0u);
}

TEST(Looks, SharesSumToOneAndLiftCombinesBothSides) {
  double sum = 0;
  for (uint32_t look = 1; look <= 100'000; ++look) sum += LookShare(look);
  EXPECT_LT(sum, 1);
  EXPECT_GT(sum, .9999);
  const Interval lift = LiftSequence({300, 1000, 50, 1000});
  EXPECT_LT(lift.low, 6);
  EXPECT_GT(lift.low, 3);
  EXPECT_GT(lift.high, 6);
  EXPECT_TRUE(std::isinf(LiftSequence({300, 1000, 0, 0}).high));
  EXPECT_NEAR(UpperBound(0, 100, .05), 1 - std::pow(.05, .01), 1e-12);
}

}  // namespace
}  // namespace promptsweep::motifs
