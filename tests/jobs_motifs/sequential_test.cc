// Proves that the intervals cover as often as they claim: at one look exactly, at every look at once by simulation, and that the
// usual interval does not when one peeks.
#include "jobs/motifs/statistics/sequential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

namespace promptsweep::motifs {
namespace {

double Binomial(uint64_t k, uint64_t n, double p) {
  return std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) + k * std::log(p) +
                  (n - k) * std::log1p(-p));
}

Interval Jeffreys(uint64_t k, uint64_t n) {
  const double a = k + 0.5, b = n - k + 0.5;
  return {k == 0 ? 0 : boost::math::ibeta_inv(a, b, 0.025), k == n ? 1 : boost::math::ibeta_inv(a, b, 0.975)};
}

// P(the interval holds p), summed over all outcomes.
template <typename Of>
double Coverage(uint64_t n, double p, Of interval) {
  double covered = 0;
  for (uint64_t k = 0; k <= n; ++k) {
    const Interval ci = interval(k, n);
    if (ci.low <= p && p <= ci.high) covered += Binomial(k, n, p);
  }
  return covered;
}

bool Holds(const Interval& ci, double p) { return ci.low <= p && p <= ci.high; }

TEST(Sequential, EqualsRootsToManyDigits) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/sequential.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_GT(reference["sequence"].size(), 60u);
  for (const auto& row : reference["sequence"]) {
    const Interval ci = ConfidenceSequence(row["k"], row["n"], row["error"]);
    const double low = row["low"], high = row["high"];
    EXPECT_NEAR(ci.low, low, 1e-9) << row;
    EXPECT_NEAR(ci.high, high, 1e-9) << row;
    // Rare motifs in relative terms.
    if (low > 0) {
      EXPECT_NEAR(ci.low / low, 1, 1e-6) << row;
    }
    EXPECT_NEAR(ci.high / high, 1, 1e-6) << row;
  }
  EXPECT_EQ(ConfidenceSequence(0, 0).low, 0);
  EXPECT_EQ(ConfidenceSequence(0, 0).high, 1);
}

TEST(Sequential, MeansEqualConfseq) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/means.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_GT(reference["mixture"].size(), 30u);
  ASSERT_GT(reference["sequence"].size(), 20u);
  for (const auto& row : reference["mixture"]) {
    const double log = row["log"];
    EXPECT_NEAR(LogBetMixture(row["counts"], row["mean"]), log, 1e-6 * std::max(1.0, std::abs(log))) << row;
  }
  for (const auto& row : reference["sequence"]) {
    const std::vector<uint64_t> counts = row["counts"];
    const Interval ci = MeanSequence(counts, counts, row["error"]);
    EXPECT_NEAR(ci.low, row["low"].get<double>(), 1e-6) << row;
    EXPECT_NEAR(ci.high, row["high"].get<double>(), 1e-6) << row;
    EXPECT_NEAR(MeanUpperBound(counts, row["error"].get<double>() / 2), ci.high, 1e-12);
  }
  // All values the same, or none at all.
  EXPECT_EQ(MeanSequence({5, 0, 0}, {5, 0, 0}).low, 0);
  EXPECT_EQ(MeanSequence({0, 0, 5}, {0, 0, 5}).high, 1);
  EXPECT_EQ(MeanSequence({0, 0}, {0, 0}).low, 0);
  EXPECT_EQ(MeanSequence({0, 0}, {0, 0}).high, 1);
  const Interval many = MeanSequence({0, 1'000'000'000, 0}, {0, 1'000'000'000, 0});
  EXPECT_LT(many.low, .5);
  EXPECT_GT(many.high, .5);
  EXPECT_LT(many.high - many.low, 1e-4);
}

TEST(Sequential, CoverageAtOneLookIsTheTables) {
  struct Row {
    uint64_t n;
    double p, wilson, exact, jeffreys;
  };
  // Brown, Cai and DasGupta (2001) show the oscillation; the numbers are sums over all outcomes.
  for (const Row& row : {Row{200, .005, .922, .981, .981}, Row{1000, .005, .963, .980, .931}, Row{1000, .02, .946, .958, .958},
                         Row{1000, .15, .955, .955, .950}}) {
    EXPECT_NEAR(Coverage(row.n, row.p, [](uint64_t k, uint64_t n) { return Wilson(k, n); }), row.wilson, .01)
        << row.n << " " << row.p;
    EXPECT_NEAR(Coverage(row.n, row.p, [](uint64_t k, uint64_t n) { return ClopperPearson(k, n); }), row.exact, .01)
        << row.n << " " << row.p;
    EXPECT_NEAR(Coverage(row.n, row.p, Jeffreys), row.jeffreys, .01) << row.n << " " << row.p;
    EXPECT_GE(Coverage(row.n, row.p, [](uint64_t k, uint64_t n) { return ConfidenceSequence(k, n); }), .99);
    EXPECT_GE(Coverage(row.n, row.p, [](uint64_t k, uint64_t n) { return Interval{0, UpperBound(k, n, .05)}; }), .95);
  }
}

// Runs of prompts whose shares are Beta distributed about `p` with intra-class correlation `icc`.
void DrawPrompts(std::mt19937_64& random, double p, double icc, std::vector<double>& in, const std::vector<double>& of) {
  std::gamma_distribution<double> a(p * (1 - icc) / std::max(icc, 1e-9)), b((1 - p) * (1 - icc) / std::max(icc, 1e-9));
  std::uniform_real_distribution<double> uniform;
  for (size_t g = 0; g < in.size(); ++g) {
    double share = p;
    if (icc > 0) {
      const double x = a(random), y = b(random);
      share = x + y > 0 ? x / (x + y) : 0;
    }
    in[g] = 0;
    for (int i = 0; i < of[g]; ++i) in[g] += uniform(random) < share;
  }
}

TEST(Sequential, DesignEffectRestoresCoverageAndPromptSequencesHold) {
  std::mt19937_64 random(3);
  const std::vector<double> of(100, 20);
  std::vector<double> in(of.size());
  constexpr int kSets = 2000;
  for (const double icc : {0.0, 0.05, 0.2}) {
    int plain = 0, widened = 0, by_prompt = 0;
    for (int set = 0; set < kSets; ++set) {
      DrawPrompts(random, .15, icc, in, of);
      double k = 0;
      for (const double v : in) k += v;
      const double deff = DesignEffect(in, of);
      plain += Holds(Wilson(k, 2000), .15);
      widened += Holds(Wilson(k / deff, 2000 / deff), .15);
      by_prompt += Holds(PromptSequence(in, of), .15);
    }
    EXPECT_GE(widened, .93 * kSets) << icc;
    EXPECT_GE(by_prompt, .95 * kSets) << icc;
    if (icc == .05) {
      EXPECT_LT(plain, .90 * kSets);
    }
    if (icc == .2) {
      EXPECT_LT(plain, .70 * kSets);
    }
  }
}

// Share of sets in which an interval ever failed to hold p, looked at after 50, 100, ..., 10,000 runs.
template <typename Of>
double EverWrong(double p, int sets, Of interval) {
  std::mt19937_64 random(11);
  std::binomial_distribution<int> batch(50, p);
  int wrong = 0;
  for (int set = 0; set < sets; ++set) {
    double k = 0;
    bool held = true;
    for (int look = 1; look <= 200 && held; ++look) {
      k += batch(random);
      held = Holds(interval(k, 50.0 * look), p);
    }
    wrong += !held;
  }
  return static_cast<double>(wrong) / sets;
}

TEST(Sequential, HoldsAtTwoHundredLooksWhereWilsonDoesNot) {
  for (const double p : {.005, .05, .3}) {
    EXPECT_LE(EverWrong(p, 1000, [](double k, double n) { return ConfidenceSequence(k, n); }), .05) << p;
    EXPECT_GT(EverWrong(p, 1000, [](double k, double n) { return Wilson(k, n); }), .3) << p;
  }
}

TEST(Sequential, FixedPromptsOfUnequalSharesNeedNoDesignEffect) {
  std::mt19937_64 random(5);
  const std::vector<double> shares = {0, .02, .05, .2, .6};
  double p = 0;
  for (const double s : shares) p += s / shares.size();
  int wrong = 0;
  constexpr int kSets = 500;
  for (int set = 0; set < kSets; ++set) {
    double k = 0, n = 0;
    bool held = true;
    for (int look = 0; look < 100 && held; ++look) {
      for (const double s : shares) k += std::binomial_distribution<int>(10, s)(random);
      n += 10 * shares.size();
      held = Holds(ConfidenceSequence(k, n), p);
    }
    wrong += !held;
  }
  EXPECT_LE(wrong, .05 * kSets);
}

TEST(Sequential, SeveralMotifsShareTheErrorAndLiftsHold) {
  std::mt19937_64 random(9);
  const std::vector<double> shares = {.01, .02, .05, .1, .15, .2, .3, .4, .5, .02};
  int wrong = 0, lift_wrong = 0;
  constexpr int kSets = 200;
  for (int set = 0; set < kSets; ++set) {
    bool all = true, lift = true;
    std::vector<double> k(shares.size());
    uint64_t baseline_in = 0;
    for (int look = 1; look <= 40; ++look) {
      for (size_t m = 0; m < shares.size(); ++m) {
        k[m] += std::binomial_distribution<int>(100, shares[m])(random);
        all &= Holds(ConfidenceSequence(k[m], 100.0 * look, .05 / shares.size()), shares[m]);
      }
      baseline_in += std::binomial_distribution<int>(100, .05)(random);
      lift &= Holds(LiftSequence({static_cast<uint64_t>(k[4]), 100u * look, baseline_in, 100u * look}), .15 / .05);
    }
    wrong += !all;
    lift_wrong += !lift;
  }
  EXPECT_LE(wrong, .05 * kSets);
  EXPECT_LE(lift_wrong, .05 * kSets);
}

TEST(Sequential, PartsOfAnErrorAddUp) {
  double sum = 0;
  for (uint32_t look = 1; look <= 1000; ++look) sum += LookShare(look);
  EXPECT_NEAR(sum, 1 - 1.0 / 1001, 1e-12);
  // Ten looks: z = 2.807, 1.43 times as wide as one.
  const Interval one = PlannedLook(500, 1000, 1), ten = PlannedLook(500, 1000, 10);
  EXPECT_NEAR((ten.high - ten.low) / (one.high - one.low), 1.43, .01);
  // None of n: the rule of three.
  EXPECT_NEAR(UpperBound(0, 1000, .05), 3.0 / 1000, 1e-5);
  EXPECT_EQ(UpperBound(10, 10, .05), 1);
}

}  // namespace
}  // namespace promptsweep::motifs
