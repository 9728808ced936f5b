#include "jobs/motifs/statistics/mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace promptsweep::motifs {
namespace {

constexpr double kLeastRight = 0.8;
constexpr double kFewestMembers = 4;
constexpr int kIterations = 200;

struct Normal {
  double weight = 0, mean = 0, sd = 0;

  double Density(double v) const {
    const double z = (v - mean) / sd;
    return weight / sd * std::exp(-0.5 * z * z);
  }
  double Below(double v) const { return weight * 0.5 * std::erfc((mean - v) / sd / std::sqrt(2.0)); }
};

// Moments of the bins, each weighted.
Normal Moments(const AngleCounts& counts, const std::vector<double>& weights) {
  Normal n;
  double sum = 0, squares = 0;
  for (size_t b = 0; b < weights.size(); ++b) {
    const double v = counts.low + (b + 0.5) * counts.width;
    n.weight += weights[b];
    sum += weights[b] * v;
    squares += weights[b] * v * v;
  }
  if (n.weight > 0) {
    n.mean = sum / n.weight;
    n.sd = std::sqrt(std::max(squares / n.weight - n.mean * n.mean, counts.width * counts.width));
  }
  return n;
}

// As Moments, but with the spread read off the sixth of the weight nearest the members: how far the crowd reaches towards
// them matters, whatever lies behind it.
Normal NearShoulder(const AngleCounts& counts, const std::vector<double>& weights) {
  constexpr double kShare = 0.16, kQuantile = 0.9945;
  Normal n = Moments(counts, weights);
  double below = 0;
  size_t b = 0;
  while (b + 1 < weights.size() && below + weights[b] < kShare * n.weight) below += weights[b++];
  const double within = weights[b] > 0 ? (kShare * n.weight - below) / weights[b] : 0.5;
  n.sd = std::max((n.mean - (counts.low + (b + within) * counts.width)) / kQuantile, counts.width);
  return n;
}

}  // namespace

bool FindMixtureCut(const AngleCounts& counts, MixtureCut& cut, Rest kind) {
  const size_t bins = counts.all.size();
  if (bins == 0) return false;
  std::vector<double> inner = counts.members, outer(bins);
  Normal members, rest;
  double before = -1;
  for (int i = 0; i < kIterations; ++i) {
    for (size_t b = 0; b < bins; ++b) outer[b] = counts.all[b] - inner[b];
    members = Moments(counts, inner);
    rest = kind == Rest::kShoulder ? NearShoulder(counts, outer) : Moments(counts, outer);
    if (members.weight < kFewestMembers || rest.weight < kFewestMembers || members.mean >= rest.mean) return false;
    if (std::abs(members.weight - before) < 1e-4 * members.weight) break;
    before = members.weight;
    for (size_t b = 0; b < bins; ++b) {
      const double v = counts.low + (b + 0.5) * counts.width;
      const double in = members.Density(v), out = rest.Density(v);
      // Beyond the middle of the rest nothing is a member, however wide the members' distribution.
      inner[b] = in + out > 0 && v < rest.mean ? counts.all[b] * in / (in + out) : 0;
    }
  }
  double low = members.mean, high = rest.mean;
  const auto missed_over_wrong = [&](double v) { return members.weight - members.Below(v) - rest.Below(v); };
  if (missed_over_wrong(low) <= 0 || missed_over_wrong(high) >= 0) return false;
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    (missed_over_wrong(middle) > 0 ? low : high) = middle;
  }
  cut.angle = low;
  const double right = members.Below(cut.angle) / members.weight;
  if (right < kLeastRight) return false;
  cut.separation = 2 * right - 1;
  const Normal one = Moments(counts, counts.all);
  const auto log = [](double density) { return std::log(std::max(density, std::numeric_limits<double>::min())); };
  cut.gain = 0;
  for (size_t b = 0; b < bins; ++b) {
    const double v = counts.low + (b + 0.5) * counts.width;
    cut.gain += counts.all[b] * (log(members.Density(v) + rest.Density(v)) - log(one.Density(v)));
  }
  return true;
}

double ShareBeyond(const std::vector<double>& angles, double edge) {
  constexpr size_t kFewest = 20;
  constexpr double kMost = 0.5;
  if (angles.size() < kFewest) return 0;
  double sum = 0, squares = 0;
  for (const double angle : angles) sum += angle;
  const double mean = sum / angles.size();
  for (const double angle : angles) squares += (angle - mean) * (angle - mean);
  const double variance = squares / (angles.size() - 1);
  double middle = mean, sd = std::sqrt(variance), beyond = 0;
  if (!(sd > 0) || edge <= mean) return 0;
  for (int i = 0; i < kIterations; ++i) {
    const double at = (edge - middle) / sd;
    const double within = 0.5 * std::erfc(-at / std::sqrt(2.0));
    beyond = 1 - within;
    if (beyond > kMost) return kMost;
    const double pull = std::exp(-0.5 * at * at) / std::sqrt(2 * M_PI) / within;
    const double shrunk = 1 - at * pull - pull * pull;
    if (!(shrunk > 0.05)) return kMost;
    sd = std::sqrt(variance / shrunk);
    middle = mean + sd * pull;
  }
  return beyond;
}

}  // namespace promptsweep::motifs
