// Intervals and tests on counts. Pure functions; probabilities in [0, 1].
#pragma once

#include <cstdint>
#include <vector>

namespace promptsweep::motifs {

struct Interval {
  double low = 0;
  double high = 0;
};

// Runs inside a region (k) among all (n), on both sides of a comparison.
struct Counts {
  uint64_t target_in = 0;
  uint64_t target = 0;
  uint64_t baseline_in = 0;
  uint64_t baseline = 0;
};

// 97.5th percentile of the standard normal distribution.
inline constexpr double kZ95 = 1.959963984540054;

// Score interval for a share k/n (Wilson 1927). Real-valued so that k and n may be divided by a design effect. n > 0, else
// [0, 1].
[[nodiscard]] Interval Wilson(double k, double n, double z = kZ95);

// Exact interval for a share (Clopper and Pearson 1934).
[[nodiscard]] Interval ClopperPearson(uint64_t k, uint64_t n, double confidence = 0.95);

// P(X >= target_in) where X is hypergeometric: the one-sided exact test of Fisher, "more in target". Sums in log space, so
// it is exact for large counts too.
[[nodiscard]] double FisherGreater(const Counts& counts);

// The same where runs are exchangeable only within each stratum: the distribution of the summed count is the convolution of
// the strata's hypergeometric ones (exact conditional Mantel-Haenszel test). Where more than 4096 runs are inside or the
// normal score is below 1, the normal approximation with continuity correction stands in.
[[nodiscard]] double StratifiedFisherGreater(const std::vector<Counts>& strata);

// Benjamini and Hochberg (1995) adjusted p-values, in the order given.
[[nodiscard]] std::vector<double> BenjaminiHochberg(const std::vector<double>& p);

// Ratio of shares with 1/2 added to each count, and its 95 % interval on the log scale (Katz et al. 1978). Each side's
// variance is multiplied by its design effect (>= 1).
struct Lift {
  double ratio = 0;
  Interval ci;
};
[[nodiscard]] Lift KatzLift(const Counts& counts, double target_deff = 1, double baseline_deff = 1);

// How much wider than binomial the variance of k/n is because runs come in clusters (prompts): variance of the ratio
// estimator over clusters divided by p(1-p)/n, at least 1 (Kish 1965). `in` and `of` hold k and n per cluster. 1 where there
// are fewer than two clusters or p is 0 or 1.
[[nodiscard]] double DesignEffect(const std::vector<double>& in, const std::vector<double>& of);

// Log-likelihood ratio of two different shares against one common share (half the G statistic), positive where the target
// has the larger share, else negative.
[[nodiscard]] double SignedLogLikelihoodRatio(const Counts& counts);

}  // namespace promptsweep::motifs
