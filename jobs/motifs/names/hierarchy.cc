#include "jobs/motifs/names/hierarchy.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

constexpr int kDraws = 199;
constexpr size_t kMostDrawn = 2000, kTile = 256;

double Median(std::vector<double> values) {
  const size_t at = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[at];
}

// What the z of one of the draws would be, were mean and sd those of the others, as they are for a direction that is not among
// them. Grows with z.
double WithoutItself(double z) {
  constexpr double n = kDraws;
  return n / (n - 1) * z / std::sqrt(std::max(1e-9, ((n - 1) - n / (n - 1) * z * z) / (n - 2)));
}

std::vector<double> Mean(const Matrix& x, const RowSet& rows) {
  std::vector<double> mean(x.dim, 0);
  for (const uint32_t i : rows) {
    for (int64_t j = 0; j < x.dim; ++j) mean[j] += x.row(i)[j];
  }
  for (double& m : mean) m /= rows.size();
  return mean;
}

// Calls visit(row, its products with all words) for each row.
template <typename Visit>
void Products(const Matrix& rows, const Matrix& words, const Visit& visit) {
  AlignedFloats dots(kTile * words.rows);
  Matrix tile(kTile, rows.dim);
  for (int64_t begin = 0; begin < rows.rows; begin += kTile) {
    const int64_t count = std::min<int64_t>(kTile, rows.rows - begin);
    std::copy_n(rows.row(begin), count * rows.dim, tile.data.begin());
    GemmNT(tile.data.data(), count, words.data.data(), words.rows, words.dim, dots.data());
    for (int64_t i = 0; i < count; ++i) {
      visit(begin + i, absl::MakeConstSpan(dots).subspan(i * words.rows, words.rows));
    }
  }
}

}  // namespace

Hierarchy::Hierarchy(const Matrix& words, const std::vector<int>& parents, const Matrix& x, const RowSet& background)
    : words_(words), parents_(parents), above_(words.rows), scale_(words.rows, 0) {
  const size_t count = words.rows;
  std::vector<size_t> size(count, 0);
  for (size_t l = 0; l < count; ++l) {
    for (int at = l; at >= 0; at = parents_[at]) ++size[at];
  }
  std::vector<int> tested(count, -1);
  for (size_t l = 0; l < count; ++l) {
    if (size[l] < kFewestWords || size[l] > count / 3) continue;
    tested[l] = roots_.size();
    roots_.push_back(l);
    sizes_.push_back(size[l]);
  }
  for (size_t l = 0; l < count; ++l) {
    for (int at = l; at >= 0; at = parents_[at]) {
      if (tested[at] >= 0) above_[l].push_back(tested[at]);
    }
  }
  if (roots_.empty()) return;

  const size_t step = (background.size() + kMostDrawn - 1) / kMostDrawn;
  const std::vector<double> centre = Mean(x, background);
  std::mt19937_64 random(background.size());
  Matrix drawn(kDraws, x.dim), centred((background.size() + step - 1) / step, x.dim);
  for (int64_t i = 0; i < centred.rows; ++i) {
    for (int64_t j = 0; j < x.dim; ++j) centred.row(i)[j] = x.row(background[i * step])[j] - centre[j];
    for (int draw = 0; draw < kDraws; ++draw) {
      const float sign = random() & 1 ? 1 : -1;
      for (int64_t j = 0; j < x.dim; ++j) drawn.row(draw)[j] += sign * centred.row(i)[j];
    }
  }
  Products(centred, words_, [&](int64_t, absl::Span<const float> dots) {
    for (size_t l = 0; l < count; ++l) scale_[l] += static_cast<double>(dots[l]) * dots[l];
  });
  for (double& s : scale_) s = std::sqrt(s / (centred.rows - 1));
  const double usual = std::max(Median(scale_), 1e-9);
  for (double& s : scale_) s += usual;

  std::vector<std::vector<double>> scores;
  Products(drawn, words_, [&](int64_t, absl::Span<const float> dots) { scores.push_back(Scores(dots)); });
  mean_.assign(roots_.size(), 0);
  sd_.assign(roots_.size(), 0);
  for (size_t s = 0; s < roots_.size(); ++s) {
    for (const auto& score : scores) mean_[s] += score[s] / kDraws;
    for (const auto& score : scores) sd_[s] += (score[s] - mean_[s]) * (score[s] - mean_[s]) / (kDraws - 1);
    sd_[s] = std::max(std::sqrt(sd_[s]), 1e-9);
  }
  for (const auto& score : scores) {
    double largest = -1e300;
    for (size_t s = 0; s < roots_.size(); ++s) largest = std::max(largest, (score[s] - mean_[s]) / sd_[s]);
    largest_.push_back(WithoutItself(largest));
  }
  std::sort(largest_.begin(), largest_.end());
}

std::vector<double> Hierarchy::Scores(absl::Span<const float> dots) const {
  std::vector<double> moderated(dots.size()), away(dots.size()), sums(roots_.size(), 0), largest(roots_.size(), -1e300);
  for (size_t l = 0; l < dots.size(); ++l) moderated[l] = dots[l] / scale_[l];
  const double middle = Median(moderated);
  for (size_t l = 0; l < dots.size(); ++l) away[l] = std::abs(moderated[l] - middle);
  const double deviation = 1.4826 * Median(away);
  if (!(deviation > 1e-12)) return sums;
  for (size_t l = 0; l < dots.size(); ++l) {
    const double standing = (moderated[l] - middle) / deviation;
    for (const uint32_t s : above_[l]) {
      sums[s] += standing;
      largest[s] = std::max(largest[s], standing);
    }
  }
  for (size_t s = 0; s < sums.size(); ++s) sums[s] = (sums[s] - largest[s]) / (sizes_[s] - 1);
  return sums;
}

std::vector<Kind> Hierarchy::StandingOut(const Matrix& x, const RowSet& members, const RowSet& baseline) const {
  std::vector<Kind> kinds;
  if (roots_.empty() || members.empty() || baseline.empty()) return kinds;
  const std::vector<double> inside = Mean(x, members), outside = Mean(x, baseline);
  Matrix shift(1, x.dim);
  for (int64_t j = 0; j < x.dim; ++j) shift.row(0)[j] = inside[j] - outside[j];
  std::vector<double> scores;
  Products(shift, words_, [&](int64_t, absl::Span<const float> dots) { scores = Scores(dots); });
  for (size_t s = 0; s < roots_.size(); ++s) {
    Kind kind{roots_[s], (scores[s] - mean_[s]) / sd_[s], 1};
    const auto as_large = largest_.end() - std::lower_bound(largest_.begin(), largest_.end(), kind.z);
    kind.p = (1.0 + as_large) / (1 + kDraws);
    if (kind.p <= kFalseKinds) kinds.push_back(kind);
  }
  std::stable_sort(kinds.begin(), kinds.end(), [](const Kind& l, const Kind& r) { return l.z > r.z; });
  return kinds;
}

std::vector<uint32_t> Hierarchy::Path(uint32_t word, absl::Span<const Kind> kinds) const {
  std::vector<uint32_t> path = {word};
  for (int at = parents_[word]; at >= 0; at = parents_[at]) {
    if (std::any_of(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.word == static_cast<uint32_t>(at); })) {
      path.push_back(at);
    }
  }
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace promptsweep::motifs
