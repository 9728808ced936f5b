#include "jobs/motifs/statistics/runs_needed.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>

#include "jobs/motifs/statistics/sequential.h"

namespace promptsweep::motifs {
namespace {

// Least whole n from `first` on at which `enough` holds; it must stay so from there on.
template <typename Enough>
uint64_t LeastRuns(double first, Enough enough) {
  double below = std::max(0.0, std::floor(first) - 1), step = 1, n = below + 1;
  while (!enough(n)) {
    if (n > kMostRuns) return 0;
    below = n;
    n += (step *= 2);
  }
  while (n - below > 1) {
    const double half = std::floor(0.5 * (below + n));
    (enough(half) ? n : below) = half;
  }
  return static_cast<uint64_t>(n);
}

double Halfwidth(const Interval& ci) { return (ci.high - ci.low) / 2; }

uint64_t Widened(uint64_t runs, double design_effect) {
  const double wide = std::ceil(static_cast<double>(runs) * std::max(1.0, design_effect) - 1e-9);
  return wide > kMostRuns ? 0 : static_cast<uint64_t>(wide);
}

// Above these the approximation is good, and the sums are long.
constexpr double kMostExactMembers = 200, kMostExactRuns = 1e7;

double ApproximateRunsToTellApart(double target, double baseline, double ratio, double level, double power, double target_deff,
                                  double baseline_deff) {
  const boost::math::normal standard;
  const double za = boost::math::quantile(boost::math::complement(standard, level)), zb = boost::math::quantile(standard, power);
  const double pooled = (target + ratio * baseline) / (1 + ratio), apart = target - baseline;
  const double root = za * std::sqrt(pooled * (1 - pooled) * (target_deff + baseline_deff / ratio)) +
                      zb * std::sqrt(target_deff * target * (1 - target) + baseline_deff * baseline * (1 - baseline) / ratio);
  const double n = root * root / (apart * apart);
  return n / 4 * std::pow(1 + std::sqrt(1 + 2 * (ratio + 1) / (n * ratio * apart)), 2);
}

// P(Fisher's one-sided p <= level), summed over the baseline's counts up to where they no longer matter.
double FisherPower(double target, double baseline, double n, double ratio, double level) {
  const auto nt = static_cast<uint64_t>(n), nb = static_cast<uint64_t>(std::max(1.0, std::round(n * ratio)));
  const auto at_least = [](uint64_t k, uint64_t of, double p) {
    if (k == 0) return 1.0;
    if (k > of || p <= 0) return 0.0;
    return p >= 1 ? 1.0 : boost::math::ibeta(static_cast<double>(k), static_cast<double>(of - k + 1), p);
  };
  double power = 0;
  uint64_t least = 0;  // inside on the target side, for significance; grows with the baseline's count
  for (uint64_t b = 0; b <= nb; ++b) {
    const double tail = at_least(b, nb, baseline);
    if (tail < 1e-9) break;
    while (least <= nt && FisherGreater({least, nt, b, nb}) > level) ++least;
    if (least > nt) break;
    power += (tail - at_least(b + 1, nb, baseline)) * at_least(least, nt, target);
  }
  return power;
}

bool IsShare(double p) { return p > 0 && p < 1; }

}  // namespace

uint64_t RunsToHalfwidth(double p, double halfwidth, double design_effect) {
  if (!IsShare(p) || !(halfwidth > 0)) return 0;
  return Widened(LeastRuns(1, [&](double n) { return Halfwidth(Wilson(p * n, n)) <= halfwidth; }), design_effect);
}

uint64_t RunsToHalfwidthAnytime(double p, double halfwidth, double error) {
  if (!IsShare(p) || !(halfwidth > 0)) return 0;
  return LeastRuns(1, [&](double n) { return Halfwidth(ConfidenceSequence(p * n, n, error)) <= halfwidth; });
}

uint64_t RunsToDecideAnytime(double p, double bar, double error) {
  if (!IsShare(p) || !IsShare(bar) || p == bar) return 0;
  return LeastRuns(1, [&](double n) {
    const Interval ci = ConfidenceSequence(p * n, n, error);
    return ci.low > bar || ci.high < bar;
  });
}

uint64_t RunsToSee(double p, uint64_t members, double chance) {
  if (!(p > 0) || members == 0) return 0;
  if (p >= 1) return members;
  const double s = static_cast<double>(members);
  return LeastRuns(s, [&](double n) { return n >= s && boost::math::ibeta(s, n - s + 1, p) >= chance; });
}

double UnseenBelow(uint64_t n, uint64_t members, double chance) {
  if (members == 0) return 0;
  if (n < members) return 1;
  return boost::math::ibeta_inv(static_cast<double>(members), static_cast<double>(n - members) + 1, chance);
}

double UnseenBelowBySeed(uint64_t n, uint64_t per_seed, uint64_t members, double chance) {
  if (per_seed <= 1 || members == 0) return UnseenBelow(n, members, chance);
  if (n < members) return 1;
  // The least mean m above a = (members - 1) / per_seed with P(sum <= a) <= exp(-(m - a + a log(a / m))) <= 1 - chance.
  const double a = static_cast<double>(members - 1) / static_cast<double>(per_seed), bar = -std::log1p(-chance);
  double below = a, above = a + 2 * bar + std::sqrt(8 * bar * a);
  for (int round = 0; round < 80; ++round) {
    const double half = 0.5 * (below + above);
    (half - a + (a > 0 ? a * std::log(a / half) : 0) < bar ? below : above) = half;
  }
  return std::min(1.0, above * static_cast<double>(per_seed) / static_cast<double>(n));
}

uint64_t RunsToTellApart(double target, double baseline, double ratio, double level, double power, double target_deff,
                         double baseline_deff) {
  if (!(target > baseline) || !(baseline >= 0) || !(target <= 1) || !(ratio > 0)) return 0;
  double runs =
      ApproximateRunsToTellApart(target, baseline, ratio, level, power, std::max(1.0, target_deff), std::max(1.0, baseline_deff));
  const double plain = ApproximateRunsToTellApart(target, baseline, ratio, level, power, 1, 1);
  if (plain * target <= kMostExactMembers && plain * ratio <= kMostExactRuns) {
    const uint64_t exact =
        LeastRuns(plain / 4, [&](double n) { return FisherPower(target, baseline, n, ratio, level) >= power; });
    runs *= static_cast<double>(exact) / plain;
  }
  return runs > kMostRuns ? 0 : std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(runs - 1e-9)));
}

}  // namespace promptsweep::motifs
