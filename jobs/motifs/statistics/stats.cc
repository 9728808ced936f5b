#include "jobs/motifs/statistics/stats.h"

#include <algorithm>
#include <boost/math/distributions/beta.hpp>
#include <cmath>
#include <numeric>

namespace promptsweep::motifs {
namespace {

double LogChoose(double n, double k) { return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1); }

// log P(X = k), X hypergeometric: `drawn` from `good` + `bad`.
double LogHypergeometric(double k, double good, double bad, double drawn) {
  return LogChoose(good, k) + LogChoose(bad, drawn - k) - LogChoose(good + bad, drawn);
}

}  // namespace

Interval Wilson(double k, double n, double z) {
  if (!(n > 0)) return {0, 1};
  const double p = k / n, z2 = z * z;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(std::max(0.0, p * (1 - p) / n + z2 / (4 * n * n)));
  return {k <= 0 ? 0 : std::max(0.0, centre - half), k >= n ? 1 : std::min(1.0, centre + half)};
}

Interval ClopperPearson(uint64_t k, uint64_t n, double confidence) {
  if (n == 0) return {0, 1};
  const double tail = (1 - confidence) / 2;
  const double a = static_cast<double>(k), b = static_cast<double>(n - k);
  Interval ci{0, 1};
  if (k > 0) ci.low = boost::math::ibeta_inv(a, b + 1, tail);
  if (k < n) ci.high = boost::math::ibeta_inv(a + 1, b, 1 - tail);
  return ci;
}

double FisherGreater(const Counts& c) {
  const double good = static_cast<double>(c.target_in + c.baseline_in);
  const double all = static_cast<double>(c.target + c.baseline);
  const double bad = all - good, drawn = static_cast<double>(c.target);
  const double lowest = std::max(0.0, drawn - bad), highest = std::min(good, drawn);
  const double k = static_cast<double>(c.target_in);
  if (k <= lowest) return 1;
  // Terms fall on both sides of the mode: sum the tail that does not hold it, outwards from its largest term.
  const double mode = std::floor((drawn + 1) * (good + 1) / (all + 2));
  const bool upper = k > mode;
  const double start = upper ? k : k - 1;
  double term = 1, sum = 0;
  for (double x = start; x >= lowest && x <= highest; x += upper ? 1 : -1) {
    sum += term;
    if (term < sum * 1e-17) break;
    term *= upper ? (good - x) * (drawn - x) / ((x + 1) * (bad - drawn + x + 1))
                  : x * (bad - drawn + x) / ((good - x + 1) * (drawn - x + 1));
  }
  const double tail = std::exp(LogHypergeometric(start, good, bad, drawn) + std::log(sum));
  return std::clamp(upper ? tail : 1 - tail, 0.0, 1.0);
}

double StratifiedFisherGreater(const std::vector<Counts>& strata) {
  double observed = 0, mean = 0, variance = 0, inside = 0;
  std::vector<const Counts*> informative;
  for (const Counts& c : strata) {
    const double n = static_cast<double>(c.target + c.baseline), in = static_cast<double>(c.target_in + c.baseline_in);
    if (c.target == 0 || c.baseline == 0 || in == 0) continue;
    informative.push_back(&c);
    observed += static_cast<double>(c.target_in);
    inside += in;
    mean += in * c.target / n;
    variance += in * (n - in) / n * c.target / n * c.baseline / std::max(1.0, n - 1);
  }
  if (informative.empty()) return 1;
  if (informative.size() == 1) return FisherGreater(*informative[0]);
  if (!(variance > 0)) return 1;
  const double z = (observed - 0.5 - mean) / std::sqrt(variance);
  if (inside > 4096 || z < 1) return 0.5 * std::erfc(z / std::sqrt(2.0));
  // Distribution of the summed count above its least value.
  std::vector<double> total{1};
  double least = 0;
  for (const Counts* c : informative) {
    const double good = static_cast<double>(c->target_in + c->baseline_in), drawn = static_cast<double>(c->target);
    const double bad = static_cast<double>(c->target + c->baseline) - good;
    const double low = std::max(0.0, drawn - bad), high = std::min(good, drawn);
    std::vector<double> one;
    for (double x = low; x <= high; ++x) one.push_back(std::exp(LogHypergeometric(x, good, bad, drawn)));
    std::vector<double> sum(total.size() + one.size() - 1, 0.0);
    for (size_t i = 0; i < total.size(); ++i) {
      for (size_t j = 0; j < one.size(); ++j) sum[i + j] += total[i] * one[j];
    }
    total = std::move(sum);
    least += low;
  }
  double p = 0;
  for (size_t i = total.size(); i-- > 0 && least + static_cast<double>(i) >= observed;) p += total[i];
  return std::clamp(p, 0.0, 1.0);
}

std::vector<double> BenjaminiHochberg(const std::vector<double>& p) {
  const size_t m = p.size();
  std::vector<size_t> order(m);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&p](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> q(m);
  double running = 1;
  for (size_t rank = m; rank-- > 0;) {
    running = std::min(running, p[order[rank]] * static_cast<double>(m) / static_cast<double>(rank + 1));
    q[order[rank]] = running;
  }
  return q;
}

Lift KatzLift(const Counts& c, double target_deff, double baseline_deff) {
  const double kt = c.target_in + 0.5, nt = c.target + 0.5, kb = c.baseline_in + 0.5, nb = c.baseline + 0.5;
  Lift lift;
  lift.ratio = (kt / nt) / (kb / nb);
  const double se = std::sqrt(target_deff * (1 / kt - 1 / nt) + baseline_deff * (1 / kb - 1 / nb));
  lift.ci = {lift.ratio * std::exp(-kZ95 * se), lift.ratio * std::exp(kZ95 * se)};
  return lift;
}

double DesignEffect(const std::vector<double>& in, const std::vector<double>& of) {
  double k = 0, n = 0, clusters = 0;
  for (size_t g = 0; g < in.size(); ++g) {
    k += in[g];
    n += of[g];
    clusters += of[g] > 0;
  }
  if (clusters < 2 || k <= 0 || k >= n) return 1;
  const double p = k / n;
  double squares = 0;
  for (size_t g = 0; g < in.size(); ++g) squares += (in[g] - p * of[g]) * (in[g] - p * of[g]);
  return std::max(1.0, clusters / (clusters - 1) * squares / (n * p * (1 - p)));
}

double SignedLogLikelihoodRatio(const Counts& c) {
  const auto part = [](double k, double n, double p) {
    double sum = 0;
    if (k > 0) sum += k * std::log(k / n / p);
    if (k < n) sum += (n - k) * std::log((n - k) / n / (1 - p));
    return sum;
  };
  const double kt = c.target_in, nt = c.target, kb = c.baseline_in, nb = c.baseline;
  if (nt == 0 || nb == 0) return 0;
  const double p = (kt + kb) / (nt + nb);
  if (p <= 0 || p >= 1) return 0;
  const double llr = part(kt, nt, p) + part(kb, nb, p);
  return kt / nt >= kb / nb ? llr : -llr;
}

}  // namespace promptsweep::motifs
