#include "jobs/motifs/statistics/novelty.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/kmeans.h"
#include "jobs/motifs/vectors/knn.h"

namespace promptsweep::motifs {
namespace {

constexpr int kPairs = 200'000;
constexpr double kShareOfPairs = 0.001;
constexpr double kMostTau = 1 - 1.0 / (1 << 20);
constexpr int64_t kTile = 128, kKindTile = 2048;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// Number of runs of each kind, in order of the kinds' first runs.
std::vector<uint64_t> CountKinds(const Matrix& x, float farthest, int threads) {
  Matrix first(x.rows, x.dim);  // of which the first `kinds.size()` rows are set
  std::vector<uint64_t> kinds;
  const auto alike = [farthest](float dot) { return DistanceFromSquare(2 - 2.0 * dot) <= farthest; };
  for (int64_t begin = 0; begin < x.rows; begin += kTile) {
    const int64_t count = std::min(kTile, x.rows - begin), known = static_cast<int64_t>(kinds.size());
    const int64_t blocks = (known + kKindTile - 1) / kKindTile;
    std::vector<uint32_t> joined(blocks * count, kNone);  // by block, the first kind in it that is alike
    ParallelFor(threads, blocks, [&](int64_t block) {
      const int64_t base = block * kKindTile, width = std::min(kKindTile, known - base);
      AlignedFloats dots(count * width);
      GemmNT(x.row(begin), count, first.row(base), width, x.dim, dots.data());
      for (int64_t q = 0; q < count; ++q) {
        const float* row = dots.data() + q * width;
        const float* end = row + width;
        const float* found = std::find_if(row, end, alike);
        if (found != end) joined[block * count + q] = static_cast<uint32_t>(base + (found - row));
      }
    });
    AlignedFloats among(count * count);
    GemmNT(x.row(begin), count, x.row(begin), count, x.dim, among.data());
    std::vector<int64_t> founders;  // in this tile
    for (int64_t q = 0; q < count; ++q) {
      uint32_t kind = kNone;
      for (int64_t block = 0; block < blocks && kind == kNone; ++block) kind = joined[block * count + q];
      for (size_t f = 0; f < founders.size() && kind == kNone; ++f) {
        if (alike(among[q * count + founders[f]])) kind = static_cast<uint32_t>(known + f);
      }
      if (kind == kNone) {
        kind = static_cast<uint32_t>(kinds.size());
        std::copy_n(x.row(begin + q), x.dim, first.row(kind));
        founders.push_back(q);
        kinds.push_back(0);
      }
      ++kinds[kind];
    }
  }
  return kinds;
}

}  // namespace

double ChooseTau(const Matrix& x, const RowSet& rows, uint64_t seed) {
  if (rows.size() < 2) return kMostTau;
  std::mt19937_64 random(seed);
  std::vector<double> cosines(kPairs);
  for (double& cosine : cosines) {
    const size_t a = random() % rows.size();
    const size_t b = (a + 1 + random() % (rows.size() - 1)) % rows.size();
    double sum = 0;
    for (int64_t j = 0; j < x.dim; ++j) sum += static_cast<double>(x.row(rows[a])[j]) * x.row(rows[b])[j];
    cosine = sum;
  }
  const auto at = cosines.begin() + static_cast<int64_t>((1 - kShareOfPairs) * kPairs);
  std::nth_element(cosines.begin(), at, cosines.end());
  return std::min(*at, kMostTau);
}

double GoodToulmin(const std::vector<uint64_t>& of_size, double t) {
  double n = 0;
  for (size_t i = 0; i < of_size.size(); ++i) n += (i + 1.0) * static_cast<double>(of_size[i]);
  if (!(n > 0) || !(t > 0)) return 0;
  const bool smoothed = t > 1;
  const double trials = smoothed ? std::ceil(std::log(n * t * t / (t - 1)) / std::log(3.0) / 2) : 0;
  double sum = 0, power = 1;
  for (size_t i = 1; i <= of_size.size(); ++i) {
    power *= -t;
    double weight = 1;
    if (smoothed) {
      if (static_cast<double>(i) > trials) break;
      const boost::math::binomial tail(trials, 2 / (2 + t));
      weight = boost::math::cdf(boost::math::complement(tail, i - 1.0));
    }
    sum -= power * weight * static_cast<double>(of_size[i - 1]);
  }
  return std::clamp(sum, 0.0, n * t);
}

Novelty MeasureNovelty(const Matrix& x, const RowSet& rows, double tau, uint64_t seed, int threads) {
  Novelty novelty;
  novelty.tau = tau;
  const int64_t take = std::min(rows.size(), kMostNoveltyRuns);
  RowSet taken;
  for (const uint32_t i : DrawRows(rows.size(), take, seed)) taken.push_back(rows[i]);
  const Matrix drawn = Gather(x, taken);
  novelty.runs = take;
  if (take == 0) return novelty;

  const float farthest = DistanceFromSquare(2 - 2 * tau);
  const KnnGraph graph = ExactKnn(drawn, 2, threads);
  uint64_t with_one = 0;
  for (int64_t i = 0; i < take; ++i) {
    int64_t alike = 0;
    while (alike < graph.k && graph.distances[i * graph.k + alike] <= farthest) ++alike;
    novelty.unlike += alike == 0;
    with_one += alike == 1;
  }
  const double n = static_cast<double>(take), f1 = static_cast<double>(novelty.unlike);
  novelty.rate = f1 / n;
  const double reach = kZ95 * std::sqrt(f1 * (1 - f1 / n) + static_cast<double>(with_one)) / n;
  const Interval exact = ClopperPearson(novelty.unlike, take);
  novelty.ci = {std::max(0.0, std::min(exact.low, novelty.rate - reach)),
                std::min(1.0, std::max(exact.high, novelty.rate + reach))};

  const std::vector<uint64_t> kinds = CountKinds(drawn, farthest, threads);
  std::vector<uint64_t> of_size(*std::max_element(kinds.begin(), kinds.end()), 0);
  for (const uint64_t size : kinds) ++of_size[size - 1];
  novelty.kinds = kinds.size();
  novelty.once = of_size[0];
  novelty.twice = of_size.size() > 1 ? of_size[1] : 0;
  const double once = static_cast<double>(novelty.once);
  novelty.kinds_at_least = static_cast<double>(kinds.size()) + once * (once - 1) / (2 * (static_cast<double>(novelty.twice) + 1));
  novelty.new_if_doubled = GoodToulmin(of_size, 1);
  novelty.new_if_fivefold = GoodToulmin(of_size, 4);
  return novelty;
}

}  // namespace promptsweep::motifs
