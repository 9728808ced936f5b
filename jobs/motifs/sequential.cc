#include "jobs/motifs/sequential.h"

#include <algorithm>
#include <array>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <boost/math/tools/toms748_solve.hpp>
#include <cmath>
#include <limits>

namespace promptsweep::motifs {
namespace {

double LogBeta(double a, double b) { return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b); }

// log p and log (1 - p) of p = 1 / (1 + exp(-t)), exact at both ends.
double LogShare(double t) { return t > 0 ? -std::log1p(std::exp(-t)) : t - std::log1p(std::exp(t)); }

// Fractions that are bet: 1, 1/1.6, ..., 3e-6, with weights in proportion to 1 / (d + 3). What is best to bet falls with the root
// of the number of values; a fraction within a factor of 1.6 loses a twentieth of the exponent at most.
struct Bets {
  static constexpr int kCount = 28;
  std::array<double, kCount> fraction{}, log_weight{};
  Bets() {
    double total = 0;
    for (int d = 0; d < kCount; ++d) total += 1 / (d + 3.0);
    for (int d = 0; d < kCount; ++d) {
      fraction[d] = std::pow(1.6, -d);
      log_weight[d] = -std::log((d + 3.0) * total);
    }
  }
};

double Mean(const std::vector<uint64_t>& counts) {
  double sum = 0, n = 0;
  for (size_t j = 0; j < counts.size(); ++j) {
    sum += static_cast<double>(j) * static_cast<double>(counts[j]);
    n += static_cast<double>(counts[j]);
  }
  return n > 0 ? sum / n / static_cast<double>(counts.size() - 1) : 0;
}

// Where LogBetMixture, which falls in the mean, is `bar`, above 0; 0 where it never is.
double MeanLowerBound(const std::vector<uint64_t>& counts, double bar) {
  const double mean = Mean(counts);
  if (mean <= 0) return 0;
  // On the scale of log mean: the mixture is at most 1 at the mean of the values.
  const auto excess = [&](double t) { return LogBetMixture(counts, std::exp(t)) - bar; };
  double above = std::log(std::min(mean, 1 - 1e-12)), below = above - 1;
  for (double step = 1; excess(below) < 0; below -= step *= 2) {
    above = below;
    if (below < -690) return 0;
  }
  boost::uintmax_t rounds = 60;
  const auto ends =
      boost::math::tools::toms748_solve(excess, below, above, boost::math::tools::eps_tolerance<double>(30), rounds);
  return std::exp(ends.first);
}

std::vector<uint64_t> Turned(const std::vector<uint64_t>& counts) { return {counts.rbegin(), counts.rend()}; }

}  // namespace

double LogBetaMixture(double k, double n, double p, double a, double b) {
  return LogBeta(k + a, n - k + b) - LogBeta(a, b) - (k > 0 ? k * std::log(p) : 0) - (k < n ? (n - k) * std::log1p(-p) : 0);
}

Interval ConfidenceSequence(double k, double n, double error) {
  if (!(n > 0)) return {0, 1};
  k = std::clamp(k, 0.0, n);
  const double constant = LogBeta(k + 0.5, n - k + 0.5) - std::log(M_PI) + std::log(error);
  // Above 0 outside the interval; convex in p with its least value, below 0, at k / n.
  const auto excess = [&](double t) { return constant - (k > 0 ? k * LogShare(t) : 0) - (k < n ? (n - k) * LogShare(-t) : 0); };
  const double middle = k <= 0   ? -std::numeric_limits<double>::infinity()
                        : k >= n ? std::numeric_limits<double>::infinity()
                                 : std::log(k / (n - k));
  // Searches from `inside` towards -inf or +inf on the scale of log odds; farther than `kFarthest` is 0 or 1.
  constexpr double kFarthest = 700;
  const auto end = [&](double inside, double direction) {
    double step = 1e-6, outside = inside + direction * step;
    while (excess(outside) <= 0) {
      if (std::abs(outside) > kFarthest) return direction * std::numeric_limits<double>::infinity();
      inside = outside;
      outside += direction * (step *= 2);
    }
    for (int round = 0; round < 80; ++round) {
      const double half = 0.5 * (inside + outside);
      (excess(half) <= 0 ? inside : outside) = half;
    }
    return outside;
  };
  // With none or all inside the one end is in closed form.
  if (k <= 0) return {0, -std::expm1(constant / n)};
  if (k >= n) return {std::exp(constant / n), 1};
  return {std::exp(LogShare(end(middle, -1))), std::exp(LogShare(end(middle, 1)))};
}

Interval PromptSequence(const std::vector<double>& in, const std::vector<double>& of, double error) {
  double sum = 0, prompts = 0;
  for (size_t g = 0; g < in.size(); ++g) {
    if (!(of[g] > 0)) continue;
    sum += in[g] / of[g];
    ++prompts;
  }
  return ConfidenceSequence(sum, prompts, error);
}

double LogBetMixture(const std::vector<uint64_t>& counts, double mean) {
  static const Bets bets;
  std::array<double, Bets::kCount> log_capital = bets.log_weight;
  const double top = static_cast<double>(counts.size() - 1);
  for (size_t j = 0; j < counts.size(); ++j) {
    if (counts[j] == 0) continue;
    const double n = static_cast<double>(counts[j]), ratio = static_cast<double>(j) / top / mean - 1;
    for (int d = 0; d < Bets::kCount; ++d) log_capital[d] += n * std::log1p(bets.fraction[d] * ratio);
  }
  const double most = *std::max_element(log_capital.begin(), log_capital.end());
  double sum = 0;
  for (const double each : log_capital) sum += std::exp(each - most);
  return most + std::log(sum);
}

Interval MeanSequence(const std::vector<uint64_t>& counts, const std::vector<uint64_t>& high, double error) {
  return {MeanLowerBound(counts, std::log(2 / error)), MeanUpperBound(high, error / 2)};
}

double MeanUpperBound(const std::vector<uint64_t>& counts, double error) {
  return 1 - MeanLowerBound(Turned(counts), std::log(1 / error));
}

Interval LiftSequence(const Interval& target, const Interval& baseline) {
  return {target.low / baseline.high, baseline.low > 0 ? target.high / baseline.low : std::numeric_limits<double>::infinity()};
}

Interval LiftSequence(const Counts& c, double error) {
  const Interval target = ConfidenceSequence(static_cast<double>(c.target_in), static_cast<double>(c.target), error / 2);
  const Interval baseline = ConfidenceSequence(static_cast<double>(c.baseline_in), static_cast<double>(c.baseline), error / 2);
  return LiftSequence(target, baseline);
}

double LookShare(uint32_t look) { return look == 0 ? 0 : 1.0 / (static_cast<double>(look) * (look + 1.0)); }

Interval PlannedLook(double k, double n, uint32_t looks, double error) {
  const boost::math::normal standard;
  return Wilson(k, n, boost::math::quantile(boost::math::complement(standard, error / (2.0 * std::max(1u, looks)))));
}

double UpperBound(uint64_t k, uint64_t n, double error) {
  if (k >= n) return 1;
  return boost::math::ibeta_inv(static_cast<double>(k) + 1, static_cast<double>(n - k), 1 - error);
}

}  // namespace promptsweep::motifs
