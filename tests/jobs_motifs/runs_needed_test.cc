// Proves that the number of runs foretold is enough, and not much too many: by exact sums over outcomes, and by mining sets of
// that size.
#include "jobs/motifs/statistics/runs_needed.h"

#include <gtest/gtest.h>

#include <boost/math/distributions/chi_squared.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/statistics/sequential.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

double Binomial(uint64_t k, uint64_t n, double p) {
  if (p <= 0) return k == 0;
  return std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) + k * std::log(p) +
                  (n - k) * std::log1p(-p));
}

TEST(RunsNeeded, ToSeeMembersEqualsExactSearch) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/sequential.json");
  for (const auto& row : nlohmann::json::parse(file)["see"]) {
    const double p = row["p"];
    const uint64_t members = row["members"], runs = RunsToSee(p, members);
    EXPECT_EQ(runs, row["runs"].get<uint64_t>()) << row;
    // The rule of thumb, half a quantile of chi-square over p, where p is small.
    const double thumb = boost::math::quantile(boost::math::chi_squared(2.0 * members), .95) / (2 * p);
    if (p < .01) {
      EXPECT_NEAR(runs / thumb, 1, .01) << row;
    }
    // What was not seen in so many runs is below p, and in one fewer need not be.
    EXPECT_LE(UnseenBelow(runs, members), p * (1 + 1e-9));
    EXPECT_GT(UnseenBelow(runs - 1, members), p * (1 - 1e-9));
  }
  EXPECT_EQ(RunsToSee(1, 20), 20u);
  EXPECT_EQ(RunsToSee(0, 1), 0u);
  EXPECT_EQ(RunsToSee(1e-14, 1), 0u);
  EXPECT_EQ(UnseenBelow(5, 8), 1);
}

TEST(RunsNeeded, ToKnowAShareIsTheLeastNumber) {
  for (const double p : {.001, .02, .15, .5, .97}) {
    for (const double halfwidth : {.25 * p, .01, .05}) {
      const double n = RunsToHalfwidth(p, halfwidth);
      const Interval at = Wilson(p * n, n), before = Wilson(p * (n - 1), n - 1);
      EXPECT_LE((at.high - at.low) / 2, halfwidth);
      if (n > 1) {
        EXPECT_GT((before.high - before.low) / 2, halfwidth);
      }
      const double anytime = RunsToHalfwidthAnytime(p, halfwidth);
      const Interval sequence = ConfidenceSequence(p * anytime, anytime);
      EXPECT_LE((sequence.high - sequence.low) / 2, halfwidth);
      EXPECT_GT(anytime, n);
    }
  }
  // The closed form for +-25 %.
  for (const double p : {.005, .02, .05, .15}) EXPECT_NEAR(RunsToHalfwidth(p, p / 4) / (61.5 * (1 - p) / p), 1, .06) << p;
  EXPECT_EQ(RunsToHalfwidth(.5, .1, 3), 3 * RunsToHalfwidth(.5, .1));
  EXPECT_EQ(RunsToHalfwidth(0, .1), 0u);
  EXPECT_EQ(RunsToHalfwidth(.5, 1e-9), 0u);
}

TEST(RunsNeeded, ToDecideAgainstABarIsTheLeastNumber) {
  for (const auto& [p, bar] : {std::pair(.1, .05), std::pair(.02, .05), std::pair(.5, .49), std::pair(1e-4, 1e-3)}) {
    const double n = RunsToDecideAnytime(p, bar);
    const auto decided = [&, p = p, bar = bar](double runs) {
      const Interval ci = ConfidenceSequence(p * runs, runs);
      return ci.low > bar || ci.high < bar;
    };
    EXPECT_TRUE(decided(n)) << p;
    EXPECT_FALSE(decided(n - 1)) << p;
  }
  EXPECT_EQ(RunsToDecideAnytime(.05, .05), 0u);
}

// P(Fisher's one-sided p <= level), summed over all outcomes.
double Power(double target, double baseline, uint64_t nt, uint64_t nb, double level = .05) {
  double power = 0;
  uint64_t least = 0;  // inside on the target side, for significance; grows with the baseline's count
  std::vector<double> tail(nt + 2, 0);
  for (uint64_t k = nt + 1; k-- > 0;) tail[k] = tail[k + 1] + Binomial(k, nt, target);
  for (uint64_t b = 0; b <= nb; ++b) {
    const double here = Binomial(b, nb, baseline);
    while (least <= nt && FisherGreater({least, nt, b, nb}) > level) ++least;
    power += here * tail[least];
  }
  return power;
}

TEST(RunsNeeded, ToTellApartGivesThePowerAsked) {
  struct Row {
    double target, baseline, ratio;
  };
  for (const Row& row : {Row{.1, .02, 1}, Row{.31, .1, 1}, Row{.05, .02, 2}, Row{.15, .05, 4}, Row{.6, .5, 1}}) {
    const uint64_t n = RunsToTellApart(row.target, row.baseline, row.ratio);
    EXPECT_NEAR(Power(row.target, row.baseline, n, static_cast<uint64_t>(row.ratio * n)), .95, .02) << row.target << " " << n;
  }
  // As a report asks: at a level shared by many candidates, with nothing in the baseline. The approximation says half as many
  // again.
  const uint64_t rare = RunsToTellApart(.05, 0, 1, 5e-5);
  EXPECT_NEAR(Power(.05, 0, rare, rare, 5e-5), .96, .011);
  EXPECT_LT(rare, 500u);
  const uint64_t fewer = RunsToTellApart(.05, .001, 4, 1e-4);
  EXPECT_NEAR(Power(.05, .001, fewer, 4 * fewer, 1e-4), .96, .011);
  EXPECT_EQ(RunsToTellApart(.05, .05), 0u);
  EXPECT_GT(RunsToTellApart(.1, .05, 1, .05, .95, 2, 2), 3 * RunsToTellApart(.1, .05) / 2);
}

TEST(RunsNeeded, SetsOfTheForetoldSizeShowTheMotif) {
  constexpr double kShare = .06;
  const uint64_t runs = RunsToSee(kShare, kMembersToFind);
  int found = 0;
  constexpr int kSets = 20;
  for (int set = 0; set < kSets; ++set) {
    SyntheticOptions options;
    options.target = options.baseline = static_cast<int64_t>(runs);
    options.background = set % 2 ? Background::kTopics30 : Background::kUnimodal;
    options.seed = 100 + set;
    options.dim = 32;
    options.planted = {kShare};
    options.within_cosine = .9;
    const Synthetic s = MakeSynthetic(options);
    MineOptions mine;
    const Mined mined = MineMotifs(s.x, s.runs, mine);
    bool hit = false;
    for (const Finding& finding : mined.findings) {
      uint64_t members = 0;
      for (const uint32_t i : finding.members) members += s.motif[i] == 0;
      hit |= finding.tier == Tier::kConfirmed && members * 10 >= finding.members.size() * 9 && members >= 10;
    }
    found += hit;
  }
  EXPECT_GE(found, 19);
}

}  // namespace
}  // namespace promptsweep::motifs
