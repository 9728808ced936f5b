#include "jobs/motifs/vectors/kmeans.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "jobs/motifs/vectors/direction.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/scan.h"

namespace promptsweep::motifs {
namespace {

// Rounds in which every row is compared with every centre, besides the last; in between a row is compared with the centres
// nearest to its own alone, among which it stays in almost every case.
constexpr int kFullRounds = 2;
constexpr int64_t kNear = 32, kFewestForNear = 4 * kNear;

// Of each centre the kNear nearest, itself among them, ascending.
std::vector<RowSet> NearCentres(const Matrix& centres, int threads) {
  std::vector<RowSet> near(centres.rows);
  constexpr int64_t kTile = 256;
  ParallelFor(threads, (centres.rows + kTile - 1) / kTile, [&](int64_t tile) {
    const int64_t begin = tile * kTile, count = std::min(kTile, centres.rows - begin);
    AlignedFloats cosines(count * centres.rows);
    GemmNT(centres.row(begin), count, centres.data.data(), centres.rows, centres.dim, cosines.data());
    for (int64_t c = 0; c < count; ++c) {
      const float* row = cosines.data() + c * centres.rows;
      const uint32_t own = begin + c;
      const auto nearer = [&](uint32_t l, uint32_t r) {
        const float sl = l == own ? 2 : row[l], sr = r == own ? 2 : row[r];
        return sl != sr ? sl > sr : l < r;
      };
      RowSet& others = near[own];
      others.resize(centres.rows);
      std::iota(others.begin(), others.end(), 0u);
      std::nth_element(others.begin(), others.begin() + kNear, others.end(), nearer);
      others.resize(kNear);
      std::sort(others.begin(), others.end());
    }
  });
  return near;
}

void AssignToNear(const Matrix& x, const Matrix& centres, const std::vector<RowSet>& clusters, int threads,
                  std::vector<uint32_t>& nearest) {
  const std::vector<RowSet> near = NearCentres(centres, threads);
  constexpr int64_t kTile = 256;
  ParallelFor(threads, clusters.size(), [&](int64_t c) {
    if (clusters[c].empty()) return;
    const Matrix around = Gather(centres, near[c]);
    AlignedFloats cosines(kTile * kNear);
    for (size_t first = 0; first < clusters[c].size(); first += kTile) {
      const RowSet rows(clusters[c].begin() + first, clusters[c].begin() + std::min(first + kTile, clusters[c].size()));
      const Matrix own = Gather(x, rows);
      GemmNT(own.data.data(), own.rows, around.data.data(), kNear, x.dim, cosines.data());
      for (size_t i = 0; i < rows.size(); ++i) nearest[rows[i]] = near[c][ArgMax(cosines.data() + i * kNear, kNear)];
    }
  });
}

}  // namespace

std::vector<uint32_t> NearestCentres(const Matrix& x, const Matrix& centres, int threads) {
  std::vector<uint32_t> nearest(x.rows);
  constexpr int64_t kTile = 512;
  ParallelFor(threads, (x.rows + kTile - 1) / kTile, [&](int64_t tile) {
    const int64_t begin = tile * kTile, count = std::min(kTile, x.rows - begin);
    AlignedFloats cosines(count * centres.rows);
    GemmNT(x.row(begin), count, centres.data.data(), centres.rows, x.dim, cosines.data());
    for (int64_t i = 0; i < count; ++i) nearest[begin + i] = ArgMax(cosines.data() + i * centres.rows, centres.rows);
  });
  return nearest;
}

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
  if (k <= 0) return {};
  const int rounds = std::max(1, options.rounds);
  Matrix centres = Gather(x, DrawRows(x.rows, k, options.seed));
  std::vector<uint32_t> nearest(x.rows, 0);
  std::vector<RowSet> clusters(k), before;
  for (int round = 0; round < rounds; ++round) {
    const bool everywhere = round < kFullRounds || round + 1 == rounds || k < kFewestForNear;
    if (everywhere) {
      nearest = NearestCentres(x, centres, options.threads);
    } else {
      AssignToNear(x, centres, clusters, options.threads, nearest);
    }
    before = std::exchange(clusters, std::vector<RowSet>(k));
    for (int64_t i = 0; i < x.rows; ++i) clusters[nearest[i]].push_back(i);
    if (everywhere && clusters == before) break;
    ParallelFor(options.threads, k, [&](int64_t c) {
      if (clusters[c] == before[c]) return;
      const std::vector<float> direction = MeanDirection(x, clusters[c]);
      if (!direction.empty()) std::copy(direction.begin(), direction.end(), centres.row(c));
    });
  }
  std::erase_if(clusters, [](const RowSet& c) { return c.empty(); });
  return clusters;
}

}  // namespace promptsweep::motifs
