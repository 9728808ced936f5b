#include "jobs/motifs/explain.h"

#include <algorithm>
#include <cmath>

#include "jobs/motifs/gemm.h"
#include "jobs/motifs/regions.h"

namespace promptsweep::motifs {

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
                                   const std::vector<std::string>& labels, double least, size_t most) {
  std::vector<ScoredLabel> scored;
  if (members.empty() || baseline.size() < 2 || words.rows == 0 || words.dim != x.dim) return scored;
  std::vector<double> member_mean(x.dim, 0), baseline_mean(x.dim, 0);
  for (const uint32_t i : members) {
    for (int64_t j = 0; j < x.dim; ++j) member_mean[j] += x.row(i)[j];
  }
  for (const uint32_t i : baseline) {
    for (int64_t j = 0; j < x.dim; ++j) baseline_mean[j] += x.row(i)[j];
  }
  for (int64_t j = 0; j < x.dim; ++j) {
    member_mean[j] /= members.size();
    baseline_mean[j] /= baseline.size();
  }
  // Sum of squares of each word's centred score over the baseline.
  std::vector<double> squares(words.rows, 0), shift(words.rows, 0), mean(words.rows, 0);
  for (int64_t l = 0; l < words.rows; ++l) {
    for (int64_t j = 0; j < x.dim; ++j) {
      mean[l] += words.row(l)[j] * baseline_mean[j];
      shift[l] += words.row(l)[j] * (member_mean[j] - baseline_mean[j]);
    }
  }
  constexpr size_t kTile = 256;
  Matrix tile(kTile, x.dim);
  AlignedFloats dots(kTile * words.rows);
  for (size_t begin = 0; begin < baseline.size(); begin += kTile) {
    const size_t count = std::min(kTile, baseline.size() - begin);
    for (size_t i = 0; i < count; ++i) std::copy_n(x.row(baseline[begin + i]), x.dim, tile.row(i));
    GemmNT(tile.data.data(), count, words.data.data(), words.rows, x.dim, dots.data());
    for (size_t i = 0; i < count; ++i) {
      for (int64_t l = 0; l < words.rows; ++l) {
        const double centred = dots[i * words.rows + l] - mean[l];
        squares[l] += centred * centred;
      }
    }
  }
  for (int64_t l = 0; l < words.rows; ++l) {
    const double sd = std::sqrt(squares[l] / (baseline.size() - 1));
    if (!(sd > 1e-9)) continue;
    const double z = shift[l] / sd;
    if (z >= least) scored.push_back({labels[l], z});
  }
  std::stable_sort(scored.begin(), scored.end(), [](const ScoredLabel& l, const ScoredLabel& r) { return l.z > r.z; });
  if (scored.size() > most) scored.resize(most);
  return scored;
}

}  // namespace promptsweep::motifs
