#include "jobs/motifs/novelty.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <numeric>
#include <random>

#include "jobs/motifs/gemm.h"

namespace promptsweep::motifs {

double AlikeCosine(const Matrix& x, const RowSet& target, const std::vector<RowSet>& motifs, uint64_t seed) {
  if (target.size() < 2) return 1;
  std::vector<uint32_t> motif(static_cast<size_t>(x.rows), 0);
  for (size_t m = 0; m < motifs.size(); ++m) {
    for (const uint32_t i : motifs[m]) motif[i] = static_cast<uint32_t>(m + 1);
  }
  constexpr int kPairs = 20'000;
  std::mt19937_64 random(seed);
  std::vector<double> unrelated, all;
  for (int pair = 0; pair < kPairs; ++pair) {
    const uint32_t a = target[random() % target.size()], b = target[random() % target.size()];
    if (a == b) continue;
    double cosine = 0;
    for (int64_t j = 0; j < x.dim; ++j) cosine += static_cast<double>(x.row(a)[j]) * x.row(b)[j];
    all.push_back(cosine);
    if (motif[a] == 0 || motif[a] != motif[b]) unrelated.push_back(cosine);
  }
  // Where every run is in one motif there is nothing else to go by.
  std::vector<double>& cosines = unrelated.size() >= 1000 ? unrelated : all;
  if (cosines.empty()) return 1;
  const size_t at = std::min(cosines.size() - 1, cosines.size() * 999 / 1000);
  std::nth_element(cosines.begin(), cosines.begin() + static_cast<std::ptrdiff_t>(at), cosines.end());
  // Copies of one picture are alike, whatever rounding made of their cosine.
  return std::min(cosines[at], 0.9999);
}

KindCounts CountKinds(const KnnGraph& graph, double alike) {
  const double farthest = std::sqrt(std::max(0.0, 2 - 2 * alike));
  std::vector<uint32_t> parent(static_cast<size_t>(graph.rows));
  std::iota(parent.begin(), parent.end(), 0u);
  const auto root = [&](uint32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
  };
  for (int64_t i = 0; i < graph.rows; ++i) {
    for (int64_t j = 0; j < graph.k && graph.distances[i * graph.k + j] <= farthest; ++j) {
      const uint32_t a = root(static_cast<uint32_t>(i)), b = root(graph.ids[i * graph.k + j]);
      parent[std::max(a, b)] = std::min(a, b);
    }
  }
  std::vector<uint64_t> sizes(static_cast<size_t>(graph.rows), 0);
  for (uint32_t i = 0; i < graph.rows; ++i) ++sizes[root(i)];
  KindCounts kinds;
  kinds.rows = static_cast<uint64_t>(graph.rows);
  kinds.counts.assign(static_cast<size_t>(std::max<int64_t>(2, graph.k)), 0);
  for (const uint64_t size : sizes) {
    if (size == 0) continue;
    ++kinds.kinds;
    if (size <= kinds.counts.size()) ++kinds.counts[size - 1];
  }
  return kinds;
}

KindsEstimate Chao1(const KindCounts& kinds) {
  const double seen = static_cast<double>(kinds.kinds), f1 = static_cast<double>(kinds.counts[0]);
  const double f2 = static_cast<double>(kinds.counts[1]);
  const double unseen = f2 > 0 ? f1 * f1 / (2 * f2) : f1 * (f1 - 1) / 2;
  KindsEstimate estimate{seen + unseen, {seen, seen}};
  if (!(unseen > 0)) return estimate;
  const double r = f2 > 0 ? f1 / f2 : 0;
  const double variance = f2 > 0 ? f2 * (r * r / 2 + r * r * r + r * r * r * r / 4)
                                 : f1 * (f1 - 1) / 2 + f1 * (2 * f1 - 1) * (2 * f1 - 1) / 4 -
                                       f1 * f1 * f1 * f1 / (4 * estimate.at_least);
  const double spread = std::exp(kZ95 * std::sqrt(std::log1p(std::max(0.0, variance) / (unseen * unseen))));
  estimate.ci = {seen + unseen / spread, seen + unseen * spread};
  return estimate;
}

double NewKinds(const KindCounts& kinds, double times) {
  double sum = 0, power = 1;
  double trials = 0;
  if (times > 1) {
    trials = std::ceil(0.5 * std::log(static_cast<double>(kinds.rows) * times * times / (times - 1)) / std::log(3.0));
  }
  for (size_t i = 1; i <= kinds.counts.size(); ++i) {
    power *= -times;
    double weight = 1;
    if (times > 1) {
      if (static_cast<double>(i) > trials) break;
      const boost::math::binomial draws(trials, 2 / (times + 2));
      weight = boost::math::cdf(boost::math::complement(draws, static_cast<double>(i) - 1));
    }
    sum -= power * weight * static_cast<double>(kinds.counts[i - 1]);
  }
  return std::max(0.0, sum);
}

FreshNovelty CountFreshNovelty(const Matrix& x, const Runs& runs, uint64_t since, double alike, int threads) {
  RowSet fresh, before;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (runs.is_target[i]) (runs.ordinal[i] >= since ? fresh : before).push_back(i);
  }
  const auto gather = [&](const RowSet& rows) {
    Matrix out(static_cast<int64_t>(rows.size()), x.dim);
    for (size_t i = 0; i < rows.size(); ++i) std::copy_n(x.row(rows[i]), x.dim, out.row(static_cast<int64_t>(i)));
    return out;
  };
  const Matrix known = gather(before), made = gather(fresh);
  constexpr int64_t kBatch = 64, kTile = 8192;
  const int64_t batches = (made.rows + kBatch - 1) / kBatch;
  std::vector<uint64_t> novel(static_cast<size_t>(batches), 0);
  ParallelFor(threads, batches, [&](int64_t batch) {
    const int64_t begin = batch * kBatch, size = std::min(kBatch, made.rows - begin);
    AlignedFloats cosines(static_cast<size_t>(size * kTile));
    std::vector<float> nearest(static_cast<size_t>(size), -2);
    for (int64_t first = 0; first < known.rows; first += kTile) {
      const int64_t width = std::min(kTile, known.rows - first);
      GemmNT(made.row(begin), size, known.row(first), width, x.dim, cosines.data());
      for (int64_t i = 0; i < size; ++i) {
        nearest[i] = std::max(nearest[i], *std::max_element(cosines.data() + i * width, cosines.data() + (i + 1) * width));
      }
    }
    for (const float cosine : nearest) novel[batch] += cosine < alike;
  });
  return {fresh.size(), std::accumulate(novel.begin(), novel.end(), uint64_t{0})};
}

}  // namespace promptsweep::motifs
