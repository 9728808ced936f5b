#include "jobs/motifs/kmeans.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "jobs/motifs/gemm.h"
#include "jobs/motifs/regions.h"

namespace promptsweep::motifs {

std::vector<uint32_t> DrawRows(int64_t rows, int64_t count, uint64_t seed) {
  std::vector<uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937_64 random(seed);
  count = std::min(count, rows);
  // The engine is specified bit for bit, the standard's distributions are not.
  for (int64_t i = 0; i < count; ++i) std::swap(order[i], order[i + random() % (rows - i)]);
  order.resize(count);
  return order;
}

std::vector<RowSet> SphericalKmeans(const Matrix& x, const KmeansOptions& options) {
  const int64_t k = std::min(options.clusters, x.rows);
  std::vector<RowSet> clusters;
  if (k <= 0) return clusters;
  Matrix centres = Gather(x, DrawRows(x.rows, k, options.seed));
  std::vector<uint32_t> nearest(x.rows, 0);
  constexpr int64_t kTile = 512;
  for (int round = 0; round < std::max(1, options.rounds); ++round) {
    ParallelFor(options.threads, (x.rows + kTile - 1) / kTile, [&](int64_t tile) {
      const int64_t begin = tile * kTile, count = std::min(kTile, x.rows - begin);
      AlignedFloats cosines(count * k);
      GemmNT(x.row(begin), count, centres.data.data(), k, x.dim, cosines.data());
      for (int64_t i = 0; i < count; ++i) {
        const float* row = cosines.data() + i * k;
        nearest[begin + i] = std::max_element(row, row + k) - row;
      }
    });
    clusters.assign(k, {});
    for (int64_t i = 0; i < x.rows; ++i) clusters[nearest[i]].push_back(i);
    ParallelFor(options.threads, k, [&](int64_t c) {
      const std::vector<float> direction = MeanDirection(x, clusters[c]);
      if (!direction.empty()) std::copy(direction.begin(), direction.end(), centres.row(c));
    });
  }
  clusters.erase(std::remove_if(clusters.begin(), clusters.end(), [](const RowSet& c) { return c.empty(); }), clusters.end());
  return clusters;
}

}  // namespace promptsweep::motifs
