#include "jobs/motifs/statistics/compare.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

namespace promptsweep::motifs {
namespace {

constexpr double kErrorRate = 0.05;

struct Group {
  double in = 0, of = 0;
  size_t prompts = 0;
  double share() const { return of > 0 ? in / of : 0; }
  double variance() const { return of > 0 ? share() * (1 - share()) / of : 0; }
};

Group Sum(const std::vector<Share>& by_prompt) {
  Group group;
  for (const Share& share : by_prompt) {
    group.in += static_cast<double>(share.in);
    group.of += static_cast<double>(share.of);
    group.prompts += share.of > 0;
  }
  return group;
}

double TwoSided(const std::vector<Counts>& strata) {
  std::vector<Counts> turned;
  for (const Counts& c : strata) turned.push_back({c.baseline_in, c.baseline, c.target_in, c.target});
  return std::min(1.0, 2 * std::min(StratifiedFisherGreater(strata), StratifiedFisherGreater(turned)));
}

double UnpairedP(const std::vector<Share>& from, const std::vector<Share>& to, double effect) {
  const Group f = Sum(from), t = Sum(to);
  if (f.of == 0 || t.of == 0) return 1;
  std::vector<Counts> strata;
  bool same_prompts = true;
  size_t prompts = 0;
  for (size_t p = 0; p < from.size(); ++p) {
    if (from[p].of == 0 && to[p].of == 0) continue;
    ++prompts;
    same_prompts &= from[p].of > 0 && to[p].of > 0;
    strata.push_back({to[p].in, to[p].of, from[p].in, from[p].of});
  }
  if (same_prompts) return TwoSided(strata);
  if (effect == 1) {
    return TwoSided(
        {{static_cast<uint64_t>(t.in), static_cast<uint64_t>(t.of), static_cast<uint64_t>(f.in), static_cast<uint64_t>(f.of)}});
  }
  const double share = (f.in + t.in) / (f.of + t.of);
  const double error = std::sqrt(share * (1 - share) * (1 / f.of + 1 / t.of) * effect);
  if (!(error > 0)) return 1;
  const double freedom = std::max(1.0, static_cast<double>(prompts) - 2);
  const boost::math::students_t student(freedom);
  return 2 * boost::math::cdf(boost::math::complement(student, std::fabs(t.share() - f.share()) / error));
}

}  // namespace

double DifferenceDesignEffect(const std::vector<Share>& from, const std::vector<Share>& to) {
  const Group f = Sum(from), t = Sum(to);
  const double binomial = f.variance() + t.variance();
  if (!(binomial > 0)) return 1;
  double squares = 0, prompts = 0;
  for (size_t p = 0; p < from.size(); ++p) {
    if (from[p].of == 0 && to[p].of == 0) continue;
    ++prompts;
    const auto away = [](const Share& share, const Group& group) {
      return group.of > 0 ? (static_cast<double>(share.in) - group.share() * static_cast<double>(share.of)) / group.of : 0;
    };
    const double residual = away(to[p], t) - away(from[p], f);
    squares += residual * residual;
  }
  if (prompts < 2) return 1;
  double variance = prompts / (prompts - 1) * squares;
  if (f.prompts == 1) variance += f.variance();
  if (t.prompts == 1) variance += t.variance();
  return std::max(1.0, variance / binomial);
}

ComparedShares Compare(const std::vector<Share>& from, const std::vector<Share>& to, const std::optional<Pairs>& pairs) {
  ComparedShares result;
  result.from = PrevalenceOf(from);
  result.to = PrevalenceOf(to);
  result.pairs = pairs;
  if (pairs) {
    result.difference = PairedDifference(*pairs);
    result.p = McNemar(*pairs);
    return result;
  }
  const double effect = DifferenceDesignEffect(from, to);
  result.difference = UnpairedDifference(result.to.runs, result.from.runs, effect, effect);
  result.p = UnpairedP(from, to, effect);
  return result;
}

void DecideChanges(std::vector<ComparedShares>& comparisons, double least) {
  std::vector<double> p_values;
  for (const ComparedShares& one : comparisons) p_values.push_back(one.p);
  const std::vector<double> q_values = BenjaminiHochberg(p_values);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    ComparedShares& one = comparisons[i];
    one.q = q_values[i];
    one.change = Change::kNone;
    if (one.q > kErrorRate) continue;
    if (one.difference.ci.high < 0) one.change = Vanished(one.from, one.to, least) ? Change::kGone : Change::kMoreInFrom;
    if (one.difference.ci.low > 0) one.change = Vanished(one.to, one.from, least) ? Change::kNew : Change::kMoreInTo;
  }
}

}  // namespace promptsweep::motifs
