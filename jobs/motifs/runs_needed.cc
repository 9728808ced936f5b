#include "jobs/motifs/runs_needed.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>

#include "jobs/motifs/sequential.h"

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

double Reach(const Interval& ci, double p) { return std::max(p - ci.low, ci.high - p); }

uint64_t Widened(uint64_t runs, double design_effect) {
  const double wide = std::ceil(static_cast<double>(runs) * std::max(1.0, design_effect) - 1e-9);
  return wide > kMostRuns ? 0 : static_cast<uint64_t>(wide);
}

bool IsShare(double p) { return p > 0 && p < 1; }

}  // namespace

uint64_t RunsToHalfwidth(double p, double halfwidth, double design_effect) {
  if (!IsShare(p) || !(halfwidth > 0)) return 0;
  const auto half = [](const Interval& ci) { return 0.5 * (ci.high - ci.low); };
  return Widened(LeastRuns(1, [&](double n) { return half(Wilson(p * n, n)) <= halfwidth; }), design_effect);
}

uint64_t RunsToHalfwidthAnytime(double p, double halfwidth, double error) {
  if (!IsShare(p) || !(halfwidth > 0)) return 0;
  return LeastRuns(1, [&](double n) { return Reach(ConfidenceSequence(p * n, n, error), p) <= halfwidth; });
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

uint64_t RunsToTellApart(double target, double baseline, double ratio, double level, double power, double target_deff,
                         double baseline_deff) {
  const double apart = target - baseline;
  if (!(apart > 0) || !(baseline >= 0) || !(target <= 1) || !(ratio > 0)) return 0;
  const boost::math::normal standard;
  const double za = boost::math::quantile(boost::math::complement(standard, level)), zb = boost::math::quantile(standard, power);
  const double pooled = (target + ratio * baseline) / (1 + ratio);
  const double dt = std::max(1.0, target_deff), db = std::max(1.0, baseline_deff);
  const double root = za * std::sqrt(pooled * (1 - pooled) * (dt + db / ratio)) +
                      zb * std::sqrt(dt * target * (1 - target) + db * baseline * (1 - baseline) / ratio);
  const double n = root * root / (apart * apart);
  const double corrected = n / 4 * std::pow(1 + std::sqrt(1 + 2 * (ratio + 1) / (n * ratio * apart)), 2);
  return corrected > kMostRuns ? 0 : std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(corrected)));
}

}  // namespace promptsweep::motifs
