#include "jobs/motifs/names/explain.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <random>

#include "jobs/motifs/vectors/direction.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

constexpr double kFalseNames = 0.05;  // of motifs no word is about
constexpr double kLeastZ = 1, kLeastZOfFew = 3;
constexpr int kResamples = 100, kFewestStable = 90;
constexpr size_t kGroups = 200;

double Median(std::vector<double> values) {
  const size_t at = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[at];
}

std::vector<double> Mean(const Matrix& x, const RowSet& rows, size_t first = 0, size_t step = 1) {
  std::vector<double> mean(x.dim, 0);
  size_t count = 0;
  for (size_t i = first; i < rows.size(); i += step, ++count) {
    for (int64_t j = 0; j < x.dim; ++j) mean[j] += x.row(rows[i])[j];
  }
  for (double& m : mean) m /= count;
  return mean;
}

// Each word's product with `direction`.
std::vector<double> Along(const Matrix& words, const std::vector<double>& direction) {
  std::vector<double> dots(words.rows, 0);
  for (int64_t l = 0; l < words.rows; ++l) {
    for (int64_t j = 0; j < words.dim; ++j) dots[l] += words.row(l)[j] * direction[j];
  }
  return dots;
}

// Sum over the baseline of the outer products of what is left of its rows without their mean, times `scale`; symmetric.
Matrix Scatter(const Matrix& x, const RowSet& baseline, const std::vector<double>& mean, double scale) {
  constexpr size_t kTile = 256;
  Matrix columns(x.dim, kTile);
  AlignedFloats product(x.dim * x.dim);
  std::vector<double> sum(x.dim * x.dim, 0);
  for (size_t begin = 0; begin < baseline.size(); begin += kTile) {
    const size_t count = std::min(kTile, baseline.size() - begin);
    std::fill(columns.data.begin(), columns.data.end(), 0.0f);
    for (size_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < x.dim; ++j) columns.row(j)[i] = x.row(baseline[begin + i])[j] - mean[j];
    }
    GemmNT(columns.data.data(), x.dim, columns.data.data(), x.dim, kTile, product.data());
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += product[e];
  }
  Matrix scatter(x.dim, x.dim);
  for (size_t e = 0; e < sum.size(); ++e) scatter.data[e] = static_cast<float>(sum[e] * scale);
  return scatter;
}

// As Spread, from the covariance: cheaper where there are more words than dimensions, whatever the number of runs.
std::vector<double> SpreadOfMany(const Matrix& x, const RowSet& baseline, const std::vector<double>& baseline_mean,
                                 const Matrix& words) {
  constexpr int64_t kTile = 256;
  const Matrix covariance = Scatter(x, baseline, baseline_mean, 1.0 / (baseline.size() - 1));
  std::vector<double> spread(words.rows, 0);
  Matrix tile(kTile, x.dim);
  AlignedFloats product(kTile * x.dim);
  for (int64_t begin = 0; begin < words.rows; begin += kTile) {
    const int64_t count = std::min(kTile, words.rows - begin);
    std::copy_n(words.row(begin), count * x.dim, tile.data.begin());
    GemmNT(tile.data.data(), count, covariance.data.data(), x.dim, x.dim, product.data());
    for (int64_t l = 0; l < count; ++l) {
      double variance = 0;
      for (int64_t j = 0; j < x.dim; ++j) variance += static_cast<double>(product[l * x.dim + j]) * tile.row(l)[j];
      spread[begin + l] = std::sqrt(std::max(0.0, variance));
    }
  }
  return spread;
}

// Standard deviation over the baseline of each word's score.
std::vector<double> Spread(const Matrix& x, const RowSet& baseline, const std::vector<double>& baseline_mean,
                           const Matrix& words) {
  if (words.rows > x.dim) return SpreadOfMany(x, baseline, baseline_mean, words);
  constexpr size_t kTile = 256;
  const std::vector<double> mean = Along(words, baseline_mean);
  std::vector<double> spread(words.rows, 0);
  Matrix tile(kTile, x.dim);
  AlignedFloats dots(kTile * words.rows);
  for (size_t begin = 0; begin < baseline.size(); begin += kTile) {
    const size_t count = std::min(kTile, baseline.size() - begin);
    for (size_t i = 0; i < count; ++i) std::copy_n(x.row(baseline[begin + i]), x.dim, tile.row(i));
    GemmNT(tile.data.data(), count, words.data.data(), words.rows, x.dim, dots.data());
    for (size_t i = 0; i < count; ++i) {
      for (int64_t l = 0; l < words.rows; ++l) {
        const double centred = dots[i * words.rows + l] - mean[l];
        spread[l] += centred * centred;
      }
    }
  }
  for (double& s : spread) s = std::sqrt(s / (baseline.size() - 1));
  return spread;
}

// Counts, for each word, the resamples of the members in which it scores best by (shift along it) / scale.
std::vector<int> Wins(const Matrix& x, const RowSet& members, const std::vector<double>& baseline_mean, const Matrix& words,
                      const std::vector<double>& scale) {
  const size_t groups = std::min(kGroups, members.size());
  std::vector<std::vector<double>> means;
  for (size_t g = 0; g < groups; ++g) means.push_back(Mean(x, members, g, groups));
  std::mt19937_64 random(members.size());
  Matrix shifts(kResamples, x.dim);
  for (int b = 0; b < kResamples; ++b) {
    std::vector<double> shift(x.dim, 0);
    for (size_t g = 0; g < groups; ++g) {
      const std::vector<double>& drawn = means[random() % groups];
      for (int64_t j = 0; j < x.dim; ++j) shift[j] += (drawn[j] - baseline_mean[j]) / groups;
    }
    std::copy(shift.begin(), shift.end(), shifts.row(b));
  }
  AlignedFloats dots(kResamples * words.rows);
  GemmNT(shifts.data.data(), kResamples, words.data.data(), words.rows, x.dim, dots.data());
  std::vector<int> wins(words.rows, 0);
  for (int b = 0; b < kResamples; ++b) {
    const float* along = dots.data() + b * words.rows;
    int64_t best = 0;
    for (int64_t l = 1; l < words.rows; ++l) {
      if (along[l] * scale[best] > along[best] * scale[l]) best = l;
    }
    ++wins[best];
  }
  return wins;
}

}  // namespace

Exemplars ChooseExemplars(const Matrix& x, const RowSet& members, const std::vector<float>& centre) {
  constexpr size_t kDiverse = 8, kBorderline = 4;
  std::vector<std::pair<double, uint32_t>> order;
  for (const uint32_t i : members) order.emplace_back(-CosineTo(x, i, centre), i);
  std::sort(order.begin(), order.end());
  Exemplars chosen;
  chosen.medoid = order[0].second;
  // Largest cosine of each close member to what is chosen already.
  const size_t close = (order.size() + 1) / 2;
  std::vector<double> nearest(close, -2);
  std::vector<bool> used(close, false);
  used[0] = true;
  uint32_t last = chosen.medoid;
  while (chosen.diverse.size() < kDiverse) {
    size_t best = close;
    for (size_t i = 0; i < close; ++i) {
      if (used[i]) continue;
      double dot = 0;
      for (int64_t j = 0; j < x.dim; ++j) dot += static_cast<double>(x.row(order[i].second)[j]) * x.row(last)[j];
      nearest[i] = std::max(nearest[i], dot);
      if (best == close || nearest[i] < nearest[best]) best = i;
    }
    if (best == close) break;
    used[best] = true;
    last = order[best].second;
    chosen.diverse.push_back(last);
  }
  for (size_t i = order.size(); i-- > close && chosen.borderline.size() < kBorderline;)
    chosen.borderline.push_back(order[i].second);
  return chosen;
}

std::vector<ScoredLabel> NameMotif(const Matrix& x, const RowSet& members, const RowSet& baseline, const Matrix& words,
                                   const std::vector<std::string>& labels, size_t most) {
  std::vector<ScoredLabel> outstanding;
  if (members.empty() || baseline.size() < 2 || words.rows == 0 || words.dim != x.dim) return outstanding;
  const size_t count = words.rows;
  const std::vector<double> baseline_mean = Mean(x, baseline);
  std::vector<double> shift = Mean(x, members);
  for (int64_t j = 0; j < x.dim; ++j) shift[j] -= baseline_mean[j];
  const std::vector<double> along = Along(words, shift), spread = Spread(x, baseline, baseline_mean, words);
  std::vector<double> scale = spread;
  const double usual = Median(spread);
  if (!(usual > 1e-9)) return outstanding;
  for (double& s : scale) s += usual;

  const bool enough = count >= kFewestWords;
  double middle = 0, deviation = 1, bar = 0;
  if (enough) {
    std::vector<double> moderated(count), away(count);
    for (size_t l = 0; l < count; ++l) moderated[l] = along[l] / scale[l];
    middle = Median(moderated);
    for (size_t l = 0; l < count; ++l) away[l] = std::abs(moderated[l] - middle);
    deviation = 1.4826 * Median(away);
    if (!(deviation > 1e-12)) return outstanding;
    bar = boost::math::quantile(boost::math::complement(boost::math::normal(), kFalseNames / count));
  }
  std::vector<size_t> chosen;
  std::vector<ScoredLabel> scored(count);
  for (size_t l = 0; l < count; ++l) {
    scored[l].label = labels[l];
    scored[l].word = l;
    scored[l].z = along[l] / std::max(spread[l], 1e-9);
    if (enough) scored[l].standing = (along[l] / scale[l] - middle) / deviation;
    if (scored[l].z >= (enough ? kLeastZ : kLeastZOfFew) && scored[l].standing >= bar) chosen.push_back(l);
  }
  if (chosen.empty()) return outstanding;
  const std::vector<int> wins = Wins(x, members, baseline_mean, words, scale);
  int stable = 0;
  for (const size_t l : chosen) stable += wins[l];
  if (stable < kFewestStable) return outstanding;
  std::stable_sort(chosen.begin(), chosen.end(), [&](size_t l, size_t r) { return along[l] * scale[r] > along[r] * scale[l]; });
  for (const size_t l : chosen) {
    if (outstanding.size() == most) break;
    scored[l].share = static_cast<double>(wins[l]) / kResamples;
    outstanding.push_back(scored[l]);
  }
  return outstanding;
}

}  // namespace promptsweep::motifs
