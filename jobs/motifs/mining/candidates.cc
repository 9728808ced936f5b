#include "jobs/motifs/mining/candidates.h"

#include <algorithm>
#include <map>
#include <set>

#include "jobs/motifs/vectors/approximate_knn.h"
#include "jobs/motifs/vectors/hdbscan.h"
#include "jobs/motifs/vectors/kmeans.h"
#include "jobs/motifs/vectors/knn.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kNeighbours = 32;
constexpr int kMinSamples = 5;
// Mean rows per k-means cell: each level finds motifs of about that size.
constexpr int64_t kCellSizes[] = {1000, 250, 60, 15};
// And a few coarse partitions for motifs that dominate.
constexpr int64_t kCoarse[] = {2, 4, 8, 16};
constexpr int64_t kMixtureNeighbourhoods = 100;
// Rare motifs.
constexpr int64_t kRareNeighbours = 16, kFewestRare = 10, kMostExact = 120'000;
constexpr size_t kMostRare = 1000;

}  // namespace

std::vector<Seeds> ProposeCandidates(const Matrix& x, const CandidateOptions& options) {
  std::vector<Seeds> seeds;
  const int64_t n = x.rows;
  if (n < options.fewest) return seeds;
  const auto keep = [&](RowSet rows, Source source) {
    if (static_cast<int64_t>(rows.size()) >= options.fewest) seeds.push_back({std::move(rows), source});
  };

  const KnnGraph graph = ExactKnn(x, kNeighbours, options.threads);
  const std::vector<MstEdge> mst = MutualReachabilityMst(x, graph, kMinSamples, options.threads);
  for (const int64_t size : std::set<int64_t>{10, std::max<int64_t>(10, n / 500), std::max<int64_t>(10, n / 100)}) {
    for (const Selection selection : {Selection::kLeaf, Selection::kExcessOfMass}) {
      for (RowSet& cluster : CondenseClusters(mst, n, size, selection)) keep(std::move(cluster), Source::kDensity);
    }
  }

  std::set<int64_t> ladder;
  for (const int64_t k : kCoarse) ladder.insert(k);
  for (const int64_t size : kCellSizes) ladder.insert(std::min<int64_t>(65536, n / size));
  for (const int64_t k : ladder) {
    if (k < 2) continue;
    for (RowSet& cell : SphericalKmeans(x, {.clusters = k, .seed = options.seed + k, .threads = options.threads})) {
      keep(std::move(cell), Source::kKmeans);
    }
  }

  for (const uint32_t row : DrawRows(n, std::clamp<int64_t>(n / 8, 50, 2000), options.seed ^ 0x9e3779b97f4a7c15ull)) {
    RowSet near(graph.ids.begin() + row * graph.k, graph.ids.begin() + (row + 1) * graph.k);
    near.push_back(row);
    std::sort(near.begin(), near.end());
    keep(std::move(near), Source::kNeighbourhood);
  }
  // Mean shift of mixtures leads from far around to the same few regions: larger sets and some neighbourhoods are enough.
  const size_t valleys = seeds.size();
  int64_t neighbourhoods = 0;
  for (size_t s = 0; s < valleys; ++s) {
    const bool start = seeds[s].source == Source::kNeighbourhood ? neighbourhoods++ < kMixtureNeighbourhoods
                                                                 : static_cast<int64_t>(seeds[s].rows.size()) >= n / 200;
    if (!start) continue;
    for (const Edge edge : {Edge::kMixture, Edge::kInner}) seeds.push_back({seeds[s].rows, seeds[s].source, edge});
  }
  return seeds;
}

RareSeeds ProposeRare(const Matrix& x, int64_t most, const CandidateOptions& options) {
  RareSeeds rare;
  ApproximateKnn found = FindApproximateKnn(x, {.k = kRareNeighbours, .seed = options.seed, .threads = options.threads});
  rare.recall = found.recall;
  if (found.graph.rows == 0) {
    if (x.rows > kMostExact) return rare;
    found.graph = ExactKnn(x, kRareNeighbours, options.threads);
    rare.recall = 1;
  }
  const KnnGraph& graph = found.graph;
  const std::vector<MstEdge> forest = MutualReachabilityForest(graph, kMinSamples);
  std::vector<std::pair<double, RowSet>> clusters;  // mean core distance first
  for (RowSet& cluster : CondenseClusters(forest, x.rows, std::max<int64_t>(kFewestRare, options.fewest), Selection::kLeaf)) {
    if (static_cast<int64_t>(cluster.size()) > most) continue;
    double sum = 0;
    for (const uint32_t i : cluster) sum += graph.distances[i * graph.k + kMinSamples - 2];
    clusters.emplace_back(sum / cluster.size(), std::move(cluster));
  }
  std::sort(clusters.begin(), clusters.end());
  if (clusters.size() > kMostRare) clusters.resize(kMostRare);
  for (auto& [distance, cluster] : clusters) rare.seeds.push_back({std::move(cluster), Source::kDensity});
  return rare;
}

void DropDuplicates(std::vector<Region>& regions, std::vector<RowSet>& members, int64_t rows, int64_t fewest) {
  std::map<RowSet, size_t> first;
  std::vector<Region> kept;
  std::vector<RowSet> kept_members;
  for (size_t r = 0; r < regions.size(); ++r) {
    const int64_t size = members[r].size();
    if (regions[r].centre.empty() || size < fewest || size > rows - rows / 10) continue;
    const auto [at, added] = first.emplace(members[r], kept.size());
    if (added) {
      kept.push_back(std::move(regions[r]));
      kept_members.push_back(std::move(members[r]));
    } else if (regions[r].separation > kept[at->second].separation) {
      kept[at->second] = std::move(regions[r]);
    }
  }
  regions = std::move(kept);
  members = std::move(kept_members);
}

}  // namespace promptsweep::motifs
