#include "jobs/motifs/statistics/across.h"

#include <algorithm>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>

namespace promptsweep::motifs {
namespace {

constexpr uint64_t kFewMembers = 10;
// At most this part of one model's share in another counts as not there.
constexpr double kFaintest = 0.25;

bool Present(const Prevalence& p, double least) { return p.runs.of > 0 && p.ci.low > least; }

}  // namespace

Prevalence PrevalenceOf(const std::vector<Share>& by_prompt) {
  Prevalence result;
  std::vector<double> in, of;
  for (const Share& share : by_prompt) {
    result.runs.in += share.in;
    result.runs.of += share.of;
    in.push_back(static_cast<double>(share.in));
    of.push_back(static_cast<double>(share.of));
  }
  result.ci = {0, 1};
  if (result.runs.of == 0) return result;
  const double k = static_cast<double>(result.runs.in), n = static_cast<double>(result.runs.of);
  const double effect = DesignEffect(in, of);
  result.share = k / n;
  result.ci = result.runs.in < kFewMembers && effect == 1 ? ClopperPearson(result.runs.in, result.runs.of)
                                                          : Wilson(k / effect, n / effect);
  return result;
}

bool Vanished(const Prevalence& from, const Prevalence& to, double least) {
  return Present(from, least) && to.runs.of > 0 && to.ci.high < std::max(least, kFaintest * from.ci.low);
}

Spread SpreadOf(const std::vector<Prevalence>& by_model, double least) {
  std::vector<size_t> present;
  bool surely_none = !by_model.empty();
  for (size_t m = 0; m < by_model.size(); ++m) {
    if (Present(by_model[m], least)) present.push_back(m);
    surely_none &= by_model[m].runs.of > 0 && by_model[m].ci.high < least;
  }
  if (surely_none) return Spread::kNone;
  // What one model has and another has only faintly is still shared: it is in both.
  if (present.size() >= 2) return Spread::kShared;
  if (present.empty() || by_model.size() < 2) return Spread::kUndecided;
  for (size_t m = 0; m < by_model.size(); ++m) {
    if (m != present[0] && !Vanished(by_model[present[0]], by_model[m], least)) return Spread::kUndecided;
  }
  return Spread::kUnique;
}

Homogeneity TestHomogeneity(const std::vector<std::vector<Share>>& strata) {
  Homogeneity result;
  const size_t models = strata.empty() ? 0 : strata[0].size();
  std::vector<double> away(models, 0), covariance(models * models, 0);
  for (const std::vector<Share>& stratum : strata) {
    double n = 0, inside = 0;
    for (const Share& share : stratum) {
      n += static_cast<double>(share.of);
      inside += static_cast<double>(share.in);
    }
    if (n < 2 || inside == 0 || inside == n) continue;
    const double scale = inside * (n - inside) / (n * n * (n - 1));
    for (size_t a = 0; a < models; ++a) {
      const double of = static_cast<double>(stratum[a].of);
      away[a] += static_cast<double>(stratum[a].in) - of * inside / n;
      for (size_t b = 0; b < models; ++b) {
        covariance[a * models + b] += scale * of * ((a == b ? n : 0) - static_cast<double>(stratum[b].of));
      }
    }
  }
  // The matrix is singular (differences sum to zero in every set of linked models): Cholesky's steps with the largest pivot
  // first, until what is left is rounding.
  std::vector<bool> done(models, false);
  double largest = 0;
  for (size_t a = 0; a < models; ++a) largest = std::max(largest, covariance[a * models + a]);
  for (size_t step = 0; step < models; ++step) {
    size_t pivot = models;
    for (size_t a = 0; a < models; ++a) {
      if (!done[a] && (pivot == models || covariance[a * models + a] > covariance[pivot * models + pivot])) pivot = a;
    }
    const double variance = covariance[pivot * models + pivot];
    if (!(variance > 1e-9 * largest)) break;
    done[pivot] = true;
    ++result.degrees;
    result.statistic += away[pivot] * away[pivot] / variance;
    for (size_t a = 0; a < models; ++a) {
      if (done[a]) continue;
      const double factor = covariance[a * models + pivot] / variance;
      away[a] -= factor * away[pivot];
      for (size_t b = 0; b < models; ++b) {
        if (!done[b]) covariance[a * models + b] -= factor * covariance[pivot * models + b];
      }
    }
  }
  if (result.degrees > 0) result.p = boost::math::gamma_q(result.degrees / 2.0, std::max(0.0, result.statistic) / 2);
  return result;
}

}  // namespace promptsweep::motifs
