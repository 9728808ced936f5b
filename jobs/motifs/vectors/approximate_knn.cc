#include "jobs/motifs/vectors/approximate_knn.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/motifs/vectors/direction.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/kmeans.h"
#include "jobs/motifs/vectors/nearest.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kRowsPerCentre = 48;  // to train on
constexpr int kRounds = 5;
constexpr int64_t kQueryTile = 256, kBaseTile = 2048;
constexpr int64_t kRecallAt = 15;
constexpr double kFirstScanned = 0.01;
constexpr int64_t kFewestScanned = 4096;

class InvertedFile {
 public:
  InvertedFile(const Matrix& x, const ApproximateKnnOptions& options)
      : x_(x), norms_(SquaredNorms(x)), threads_(options.threads) {
    Train(options.seed);
    Assign();
    const int64_t lists = rows_.size();
    similar_ = Matrix(lists, lists);
    constexpr int64_t kTile = 256;
    ParallelFor(threads_, (lists + kTile - 1) / kTile, [&](int64_t tile) {
      const int64_t begin = tile * kTile, count = std::min(kTile, lists - begin);
      GemmNT(centres_.row(begin), count, centres_.data.data(), lists, x_.dim, similar_.row(begin));
    });
  }

  // Neighbours of each of `queries`, which may be any rows, by comparing with at least `scanned` rows.
  KnnGraph Search(const RowSet& queries, int64_t k, int64_t scanned) const {
    KnnGraph graph;
    graph.rows = queries.size();
    graph.k = k;
    graph.ids.resize(graph.rows * k);
    graph.distances.assign(graph.rows * k, INFINITY);
    // Positions in `queries`, by list.
    std::vector<std::vector<uint32_t>> by_list(rows_.size());
    for (size_t q = 0; q < queries.size(); ++q) by_list[list_of_[queries[q]]].push_back(q);
    std::vector<std::pair<uint32_t, uint32_t>> tasks;  // list, first query
    for (size_t l = 0; l < by_list.size(); ++l) {
      for (size_t first = 0; first < by_list[l].size(); first += kQueryTile) tasks.emplace_back(l, first);
    }
    ParallelFor(threads_, tasks.size(), [&](int64_t t) {
      const auto [list, first] = tasks[t];
      const int64_t count = std::min<int64_t>(kQueryTile, by_list[list].size() - first);
      const RowSet candidates = Around(list, scanned);
      Matrix asked(count, x_.dim), tile(kBaseTile, x_.dim);
      std::vector<float> norms(kBaseTile);
      AlignedFloats dots(kQueryTile * kBaseTile);
      for (int64_t q = 0; q < count; ++q) std::copy_n(x_.row(queries[by_list[list][first + q]]), x_.dim, asked.row(q));
      std::vector<Nearest> nearest(count, Nearest(k));
      for (size_t base = 0; base < candidates.size(); base += kBaseTile) {
        const int64_t width = std::min<int64_t>(kBaseTile, candidates.size() - base);
        for (int64_t j = 0; j < width; ++j) {
          std::copy_n(x_.row(candidates[base + j]), x_.dim, tile.row(j));
          norms[j] = norms_[candidates[base + j]];
        }
        GemmNT(asked.data.data(), count, tile.data.data(), width, x_.dim, dots.data());
        for (int64_t q = 0; q < count; ++q) {
          const uint32_t row = queries[by_list[list][first + q]];
          nearest[q].Offer(norms_[row], norms.data(), dots.data() + q * width, width, row,
                           [&](int64_t j) { return candidates[base + j]; });
        }
      }
      for (int64_t q = 0; q < count; ++q) SetNeighbours(graph, by_list[list][first + q], nearest[q].Sorted());
    });
    return graph;
  }

 private:
  void Train(uint64_t seed) {
    const int64_t lists = std::clamp<int64_t>(2 * std::sqrt(static_cast<double>(x_.rows)), 1, 65536);
    const Matrix sample = Gather(x_, DrawRows(x_.rows, lists * kRowsPerCentre, seed));
    std::vector<std::vector<float>> centres;
    for (const RowSet& cluster :
         SphericalKmeans(sample, {.clusters = lists, .rounds = kRounds, .seed = seed, .threads = threads_})) {
      std::vector<float> centre = MeanDirection(sample, cluster);
      if (!centre.empty()) centres.push_back(std::move(centre));
    }
    if (centres.empty()) centres.emplace_back(x_.dim, 0.0f);
    centres_ = Matrix(centres.size(), x_.dim);
    for (size_t c = 0; c < centres.size(); ++c) std::copy(centres[c].begin(), centres[c].end(), centres_.row(c));
  }

  void Assign() {
    list_of_ = NearestCentres(x_, centres_, threads_);
    rows_.resize(centres_.rows);
    for (int64_t i = 0; i < x_.rows; ++i) rows_[list_of_[i]].push_back(static_cast<uint32_t>(i));
  }

  // The rows of a list and of the lists nearest to it, until there are `scanned`.
  RowSet Around(uint32_t list, int64_t scanned) const {
    std::vector<uint32_t> order(rows_.size());
    std::iota(order.begin(), order.end(), 0u);
    const float* similar = similar_.row(list);
    const auto nearer = [&](uint32_t l, uint32_t r) {
      const float sl = l == list ? 2 : similar[l], sr = r == list ? 2 : similar[r];
      return sl != sr ? sl > sr : l < r;
    };
    std::sort(order.begin(), order.end(), nearer);
    RowSet rows;
    for (const uint32_t l : order) {
      if (static_cast<int64_t>(rows.size()) >= scanned) break;
      rows.insert(rows.end(), rows_[l].begin(), rows_[l].end());
    }
    return rows;
  }

  const Matrix& x_;
  const std::vector<float> norms_;
  const int threads_;
  Matrix centres_, similar_;
  std::vector<uint32_t> list_of_;
  std::vector<RowSet> rows_;
};

// Share of the kRecallAt true nearest that were found; `exact` has just these.
double Recall(const KnnGraph& found, const KnnGraph& exact) {
  int64_t hits = 0;
  for (int64_t q = 0; q < found.rows; ++q) {
    const float radius = exact.distances[(q + 1) * kRecallAt - 1];
    for (int64_t j = 0; j < kRecallAt; ++j) hits += found.distances[q * found.k + j] <= radius;
  }
  return static_cast<double>(hits) / (found.rows * kRecallAt);
}

}  // namespace

ApproximateKnn FindApproximateKnn(const Matrix& x, const ApproximateKnnOptions& options) {
  ApproximateKnn result;
  if (x.rows <= kRecallAt) return result;
  const InvertedFile file(x, options);
  RowSet probes = DrawRows(x.rows, options.probes, options.seed + 1);
  std::sort(probes.begin(), probes.end());
  const KnnGraph exact = ExactKnnOf(x, probes, kRecallAt, options.threads);
  const int64_t k = std::max(options.k, kRecallAt);
  for (double share = kFirstScanned;; share *= 1.5) {
    result.scanned = std::min(share, options.most_scanned);
    const int64_t scanned = std::min(x.rows, std::max(kFewestScanned, static_cast<int64_t>(result.scanned * x.rows)));
    result.recall = Recall(file.Search(probes, k, scanned), exact);
    if (result.recall >= options.least_recall) {
      RowSet everything(x.rows);
      std::iota(everything.begin(), everything.end(), 0u);
      result.graph = file.Search(everything, k, scanned);
      return result;
    }
    if (share >= options.most_scanned || scanned == x.rows) return result;
  }
}

}  // namespace promptsweep::motifs
