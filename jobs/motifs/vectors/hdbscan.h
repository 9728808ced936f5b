// HDBSCAN* (Campello, Moulavi, Sander 2013; McInnes, Healy 2017) on a nearest-neighbour graph.
//
// min_samples counts the point itself, as scikit-learn does: the core distance is that to the (min_samples - 1)-th other
// point. The `hdbscan` package counts without it, so its min_samples = m - 1 is our m.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/vectors/knn.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct MstEdge {
  uint32_t a = 0;
  uint32_t b = 0;
  float weight = 0;  // mutual reachability distance
};

// A minimum spanning tree of the graph's mutual reachability distances, sorted by (weight, a, b). Edges of the graph come
// first; components they leave apart are joined by exact nearest pairs (Boruvka rounds). With graph.k well above
// min_samples (16 and more) the weight equals that of the complete graph in practice. Requires 2 <= min_samples <= k + 1.
[[nodiscard]] std::vector<MstEdge> MutualReachabilityMst(const Matrix& x, const KnnGraph& graph, int min_samples, int threads);

// The same for graphs too large for exact joins: components that the graph leaves apart are joined by edges of infinite weight,
// so that they part again at density 0. A component with fewer rows than a cluster needs is noise.
[[nodiscard]] std::vector<MstEdge> MutualReachabilityForest(const KnnGraph& graph, int min_samples);

// Which clusters of the condensed tree are kept.
enum class Selection {
  kLeaf,          // the finest: rare motifs are not swallowed by their surroundings
  kExcessOfMass,  // the most stable
};

// Clusters of at least min_cluster_size rows, each ascending, in order of their first row; rows in none are noise. The root
// is never a cluster.
[[nodiscard]] std::vector<RowSet> CondenseClusters(const std::vector<MstEdge>& mst, int64_t rows, int64_t min_cluster_size,
                                                   Selection selection);

}  // namespace promptsweep::motifs
