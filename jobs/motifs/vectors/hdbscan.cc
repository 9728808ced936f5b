#include "jobs/motifs/vectors/hdbscan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "base/check.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/scan.h"

namespace promptsweep::motifs {
namespace {

class UnionFind {
 public:
  explicit UnionFind(int64_t n) : parent_(n), size_(n, 1) { std::iota(parent_.begin(), parent_.end(), 0u); }
  uint32_t Find(uint32_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  bool Union(uint32_t a, uint32_t b) {
    a = Find(a);
    b = Find(b);
    if (a == b) return false;
    if (size_[a] < size_[b]) std::swap(a, b);
    parent_[b] = a;
    size_[a] += size_[b];
    return true;
  }
  int64_t SizeOf(uint32_t i) { return size_[Find(i)]; }

 private:
  std::vector<uint32_t> parent_;
  std::vector<int64_t> size_;
};

bool EdgeLess(const MstEdge& l, const MstEdge& r) { return std::tie(l.weight, l.a, l.b) < std::tie(r.weight, r.a, r.b); }

MstEdge MakeEdge(uint32_t i, uint32_t j, float weight) { return {std::min(i, j), std::max(i, j), weight}; }

// Rows side by side by component.
struct Grouped {
  RowSet rows;                      // ascending within a component
  std::vector<uint32_t> component;  // of rows[at], counted from 0
  std::vector<float> core, norms;   // of rows[at]
  Matrix x;
  uint32_t components = 0;
};

Grouped GroupByComponent(const Matrix& x, const std::vector<float>& core, UnionFind& sets) {
  Grouped grouped;
  grouped.rows.resize(x.rows);
  std::iota(grouped.rows.begin(), grouped.rows.end(), 0u);
  std::stable_sort(grouped.rows.begin(), grouped.rows.end(), [&](uint32_t l, uint32_t r) { return sets.Find(l) < sets.Find(r); });
  for (size_t at = 0; at < grouped.rows.size(); ++at) {
    if (at == 0 || sets.Find(grouped.rows[at]) != sets.Find(grouped.rows[at - 1])) ++grouped.components;
    grouped.component.push_back(grouped.components - 1);
    grouped.core.push_back(core[grouped.rows[at]]);
  }
  grouped.x = Gather(x, grouped.rows);
  grouped.norms = SquaredNorms(grouped.x);
  return grouped;
}

// The lightest edges between components, one for each two of them.
class Bridges {
 public:
  explicit Bridges(uint32_t components)
      : components_(components), edges_(static_cast<size_t>(components) * components, {0, 0, INFINITY}) {}
  MstEdge& At(uint32_t a, uint32_t b) { return edges_[static_cast<size_t>(std::min(a, b)) * components_ + std::max(a, b)]; }
  void Offer(const Bridges& other) {
    for (size_t e = 0; e < edges_.size(); ++e) {
      if (EdgeLess(other.edges_[e], edges_[e])) edges_[e] = other.edges_[e];
    }
  }
  // By weight.
  std::vector<MstEdge> Sorted() const {
    std::vector<MstEdge> found;
    for (const MstEdge& edge : edges_) {
      if (edge.a != edge.b) found.push_back(edge);
    }
    std::sort(found.begin(), found.end(), EdgeLess);
    return found;
  }

 private:
  const size_t components_;
  std::vector<MstEdge> edges_;  // upper triangle
};

// Offers the edges between the rows at `first`... and those at `second`...
void OfferBlock(const Grouped& grouped, int64_t first, int64_t height, int64_t second, int64_t width, AlignedFloats& dots,
                Bridges& bridges) {
  const std::vector<uint32_t>& component = grouped.component;
  if (component[first] == component[second + width - 1]) return;
  GemmNT(grouped.x.row(first), height, grouped.x.row(second), width, grouped.x.dim, dots.data());
  for (int64_t i = first; i < first + height; ++i) {
    const float* row = dots.data() + (i - first) * width;
    const float* norms = grouped.norms.data() + second;
    for (int64_t begin = 0, end = 0; begin < width; begin = end) {
      const uint32_t other = component[second + begin];
      while (end < width && component[second + end] == other) ++end;
      if (other <= component[i]) continue;  // its own, or seen from there
      MstEdge& best = bridges.At(component[i], other);
      if (grouped.core[i] > best.weight) continue;
      // Loose: what is farther cannot be lighter.
      const auto next = [&](int64_t from) {
        return NextWithin(grouped.norms[i], norms, row, best.weight * best.weight * (1 + 1e-6f) + 1e-5f, from, end);
      };
      for (int64_t j = next(begin); j < end; j = next(j + 1)) {
        const float distance = DistanceFromSquare(grouped.norms[i] + norms[j] - 2 * row[j]);
        const float weight = std::max({grouped.core[i], grouped.core[second + j], distance});
        const MstEdge edge = MakeEdge(grouped.rows[i], grouped.rows[second + j], weight);
        if (EdgeLess(edge, best)) best = edge;
      }
    }
  }
}

// Joins all components of `sets` by the lightest edges there are, in one pass over all pairs of rows; appends these to `tree`.
void JoinComponents(const Matrix& x, const std::vector<float>& core, int threads, UnionFind& sets, std::vector<MstEdge>& tree) {
  const Grouped grouped = GroupByComponent(x, core, sets);
  if (grouped.components < 2) return;
  constexpr int64_t kBlock = 768;
  constexpr int64_t kMostBridges = 1 << 25;  // of all threads, 12 bytes each
  const int64_t blocks = (x.rows + kBlock - 1) / kBlock;
  const int64_t fit = kMostBridges / (static_cast<int64_t>(grouped.components) * grouped.components);
  const int64_t workers =
      std::clamp<int64_t>(std::min<int64_t>(threads, blocks * (blocks + 1) / 2), 1, std::max<int64_t>(1, fit));
  std::vector<Bridges> bridges(workers, Bridges(grouped.components));
  std::vector<AlignedFloats> dots(workers, AlignedFloats(kBlock * kBlock));
  ForEachPairOfBlocks(x.rows, kBlock, workers, [&](int64_t worker, int64_t i, int64_t j) {
    OfferBlock(grouped, i, std::min(kBlock, x.rows - i), j, std::min(kBlock, x.rows - j), dots[worker], bridges[worker]);
  });
  for (size_t worker = 1; worker < bridges.size(); ++worker) bridges[0].Offer(bridges[worker]);
  for (const MstEdge& edge : bridges[0].Sorted()) {
    if (sets.Union(edge.a, edge.b)) tree.push_back(edge);
  }
}

// Binary merge tree: nodes 0..n-1 are rows, n+i is the i-th merge.
struct Linkage {
  struct Merge {
    uint32_t left, right;
    double distance;
    int64_t size;
  };
  int64_t rows;
  std::vector<Merge> merges;
  int64_t SizeOf(uint32_t node) const { return node < rows ? 1 : merges[node - rows].size; }
  void AppendRows(uint32_t node, RowSet& out) const {
    std::vector<uint32_t> stack{node};
    while (!stack.empty()) {
      const uint32_t at = stack.back();
      stack.pop_back();
      if (at < rows) {
        out.push_back(at);
      } else {
        stack.push_back(merges[at - rows].left);
        stack.push_back(merges[at - rows].right);
      }
    }
  }
};

Linkage SingleLinkage(const std::vector<MstEdge>& mst, int64_t rows) {
  Linkage tree{rows, {}};
  UnionFind sets(rows);
  std::vector<uint32_t> node(rows);  // tree node of each set's representative
  std::iota(node.begin(), node.end(), 0u);
  for (const MstEdge& edge : mst) {
    const uint32_t a = sets.Find(edge.a), b = sets.Find(edge.b);
    const uint32_t left = node[a], right = node[b];
    PS_CHECK(a != b) << "a spanning tree has no cycle";
    sets.Union(a, b);
    node[sets.Find(a)] = rows + tree.merges.size();
    // Coinciding points would have infinite density.
    tree.merges.push_back(
        {left, right, std::max(1e-6, static_cast<double>(edge.weight)), tree.SizeOf(left) + tree.SizeOf(right)});
  }
  return tree;
}

struct Cluster {
  uint32_t node;   // linkage node at birth
  int64_t parent;  // -1 for the root
  double birth;    // lambda = 1 / distance
  double stability = 0;
  std::vector<int64_t> children;
};

std::vector<Cluster> Condense(const Linkage& tree, int64_t min_size) {
  std::vector<Cluster> clusters{{static_cast<uint32_t>(tree.rows + tree.merges.size() - 1), -1, 0.0, 0.0, {}}};
  std::vector<std::pair<uint32_t, int64_t>> stack{{clusters[0].node, 0}};
  while (!stack.empty()) {
    const auto [node, cluster] = stack.back();
    stack.pop_back();
    if (node < tree.rows) continue;
    const Linkage::Merge& merge = tree.merges[node - tree.rows];
    const double lambda = 1 / merge.distance;
    const int64_t left = tree.SizeOf(merge.left), right = tree.SizeOf(merge.right);
    if (left >= min_size && right >= min_size) {
      clusters[cluster].stability += (left + right) * (lambda - clusters[cluster].birth);
      for (const uint32_t child : {merge.left, merge.right}) {
        clusters[cluster].children.push_back(clusters.size());
        stack.emplace_back(child, clusters.size());
        clusters.push_back({child, cluster, lambda, 0.0, {}});
      }
      continue;
    }
    if (left < min_size) clusters[cluster].stability += left * (lambda - clusters[cluster].birth);
    if (right < min_size) clusters[cluster].stability += right * (lambda - clusters[cluster].birth);
    if (left >= min_size) stack.emplace_back(merge.left, cluster);
    if (right >= min_size) stack.emplace_back(merge.right, cluster);
  }
  return clusters;
}

// Core distance of each row.
std::vector<float> CoreDistances(const KnnGraph& graph, int min_samples) {
  const int64_t core_column = std::min<int64_t>(min_samples - 2, graph.k - 1);
  PS_CHECK(core_column >= 0) << "min_samples counts the point itself and one other";
  std::vector<float> core(graph.rows);
  for (int64_t i = 0; i < graph.rows; ++i) core[i] = graph.distances[i * graph.k + core_column];
  return core;
}

// Edges of a minimum spanning forest of the graph, by weight; `sets` gets its components.
std::vector<MstEdge> SpanningForest(const KnnGraph& graph, const std::vector<float>& core, UnionFind& sets) {
  std::vector<MstEdge> edges, forest;
  edges.reserve(graph.rows * graph.k);
  for (int64_t i = 0; i < graph.rows; ++i) {
    for (int64_t j = 0; j < graph.k; ++j) {
      const uint32_t other = graph.ids[i * graph.k + j];
      const float distance = graph.distances[i * graph.k + j];
      edges.push_back(MakeEdge(i, other, std::max({core[i], core[other], distance})));
    }
  }
  std::sort(edges.begin(), edges.end(), EdgeLess);
  for (const MstEdge& edge : edges) {
    if (sets.Union(edge.a, edge.b)) forest.push_back(edge);
  }
  return forest;
}

}  // namespace

std::vector<MstEdge> MutualReachabilityForest(const KnnGraph& graph, int min_samples) {
  if (graph.rows < 2) return {};
  UnionFind sets(graph.rows);
  std::vector<MstEdge> forest = SpanningForest(graph, CoreDistances(graph, min_samples), sets);
  for (int64_t i = 1; i < graph.rows; ++i) {
    if (sets.Union(0, i)) forest.push_back(MakeEdge(0, i, INFINITY));
  }
  return forest;
}

std::vector<MstEdge> MutualReachabilityMst(const Matrix& x, const KnnGraph& graph, int min_samples, int threads) {
  if (graph.rows < 2) return {};
  const std::vector<float> core = CoreDistances(graph, min_samples);
  UnionFind sets(graph.rows);
  std::vector<MstEdge> mst = SpanningForest(graph, core, sets);
  JoinComponents(x, core, threads, sets, mst);
  std::sort(mst.begin(), mst.end(), EdgeLess);
  return mst;
}

std::vector<RowSet> CondenseClusters(const std::vector<MstEdge>& mst, int64_t rows, int64_t min_cluster_size,
                                     Selection selection) {
  std::vector<RowSet> found;
  if (rows < 2) return found;
  const Linkage tree = SingleLinkage(mst, rows);
  std::vector<Cluster> clusters = Condense(tree, std::max<int64_t>(2, min_cluster_size));
  std::vector<bool> chosen(clusters.size(), false);
  for (size_t i = clusters.size(); i-- > 1;) {
    if (selection == Selection::kLeaf) {
      chosen[i] = clusters[i].children.empty();
      continue;
    }
    double below = 0;
    for (const int64_t child : clusters[i].children) below += clusters[child].stability;
    if (clusters[i].children.empty() || clusters[i].stability >= below) {
      chosen[i] = true;
    } else {
      clusters[i].stability = below;
    }
  }
  for (size_t i = 1; i < clusters.size(); ++i) {
    // Parents stand before children; below a chosen one nothing is chosen.
    if (selection == Selection::kExcessOfMass) {
      for (int64_t up = clusters[i].parent; up > 0 && chosen[i]; up = clusters[up].parent) chosen[i] = !chosen[up];
    }
  }
  for (size_t i = 1; i < clusters.size(); ++i) {
    if (!chosen[i]) continue;
    RowSet members;
    tree.AppendRows(clusters[i].node, members);
    std::sort(members.begin(), members.end());
    found.push_back(std::move(members));
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace promptsweep::motifs
