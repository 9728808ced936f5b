#include "jobs/motifs/statistics/reach.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>

namespace promptsweep::motifs {
namespace {

double Entropy(double sum, double sum_log, double prompts) {
  if (prompts < 2 || !(sum > 0)) return 0;
  return std::clamp((std::log(sum) - sum_log / sum) / std::log(prompts), 0.0, 1.0);
}

double RateLogRate(double rate) { return rate > 0 ? rate * std::log(rate) : 0; }

// Around `value` from its values with one prompt left out (Tukey 1958), Student's t.
Interval Jackknife(double value, const std::vector<double>& without) {
  const double n = static_cast<double>(without.size());
  double mean = 0, squares = 0;
  for (const double v : without) mean += v / n;
  for (const double v : without) squares += (v - mean) * (v - mean);
  const double t = boost::math::quantile(boost::math::students_t(n - 1), 0.975);
  const double half = t * std::sqrt((n - 1) / n * squares);
  return {value - half, value + half};
}

}  // namespace

Reach ReachOf(const std::vector<Share>& by_prompt) {
  Reach reach;
  double in = 0, of = 0, rates = 0, rates_log = 0;
  std::map<uint64_t, double> sizes;  // how many prompts have so many runs
  for (const Share& share : by_prompt) {
    if (share.of == 0) continue;
    ++reach.prompts;
    reach.reached += share.in > 0;
    ++sizes[share.of];
    in += static_cast<double>(share.in);
    of += static_cast<double>(share.of);
    const double rate = static_cast<double>(share.in) / static_cast<double>(share.of);
    rates += rate;
    rates_log += RateLogRate(rate);
  }
  reach.share_ci = reach.entropy_ci = {0, 1};
  reach.excess_ci = {-1, 1};
  if (reach.prompts == 0) return reach;
  const double prompts = static_cast<double>(reach.prompts), reached = static_cast<double>(reach.reached);
  const double p = in / of;
  for (const auto& [runs, how_many] : sizes) {
    reach.expected += how_many / prompts * (p >= 1 ? 1 : -std::expm1(static_cast<double>(runs) * std::log1p(-p)));
  }
  reach.share = reached / prompts;
  reach.entropy = Entropy(rates, rates_log, prompts);
  reach.excess = reach.share - reach.expected;
  if (reach.prompts < 2) return reach;

  std::vector<double> entropies;
  for (const Share& share : by_prompt) {
    if (share.of == 0) continue;
    const double k = static_cast<double>(share.in), n = static_cast<double>(share.of);
    entropies.push_back(Entropy(rates - k / n, rates_log - RateLogRate(k / n), prompts - 1));
  }
  reach.share_ci = Wilson(reached, prompts);
  const Interval entropy = Jackknife(reach.entropy, entropies);
  reach.entropy_ci = {std::max(0.0, entropy.low), std::min(1.0, entropy.high)};
  reach.excess_ci = {reach.share_ci.low - reach.expected, reach.share_ci.high - reach.expected};
  return reach;
}

std::vector<size_t> TopPrompts(const std::vector<Share>& by_prompt, size_t most) {
  std::vector<size_t> order;
  std::vector<double> low(by_prompt.size(), 0);
  for (size_t i = 0; i < by_prompt.size(); ++i) {
    if (by_prompt[i].in == 0) continue;
    order.push_back(i);
    low[i] = Wilson(static_cast<double>(by_prompt[i].in), static_cast<double>(by_prompt[i].of)).low;
  }
  std::stable_sort(order.begin(), order.end(), [&low](size_t a, size_t b) { return low[a] > low[b]; });
  order.resize(std::min(order.size(), most));
  return order;
}

}  // namespace promptsweep::motifs
