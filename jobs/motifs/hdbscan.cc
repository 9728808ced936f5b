#include "jobs/motifs/hdbscan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "base/check.h"
#include "jobs/motifs/gemm.h"

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

// The lightest edge from each row outside the largest component to another component.
std::vector<MstEdge> LightestOutgoing(const Matrix& x, const std::vector<float>& core, UnionFind& components, int threads) {
  std::vector<uint32_t> component(x.rows);
  uint32_t largest = components.Find(0);
  for (int64_t i = 0; i < x.rows; ++i) {
    component[i] = components.Find(i);
    if (components.SizeOf(i) > components.SizeOf(largest)) largest = component[i];
  }
  RowSet queries;
  for (int64_t i = 0; i < x.rows; ++i) {
    if (component[i] != largest) queries.push_back(i);
  }
  const std::vector<float> norms = SquaredNorms(x);
  std::vector<MstEdge> best(queries.size());
  constexpr int64_t kTile = 64;
  const int64_t count = queries.size();
  ParallelFor(threads, (count + kTile - 1) / kTile, [&](int64_t tile) {
    const int64_t begin = tile * kTile, end = std::min(count, begin + kTile);
    Matrix rows(end - begin, x.dim);
    for (int64_t q = begin; q < end; ++q) std::copy_n(x.row(queries[q]), x.dim, rows.row(q - begin));
    constexpr int64_t kBase = 4096;
    AlignedFloats dots((end - begin) * kBase);
    for (int64_t q = begin; q < end; ++q) best[q].weight = INFINITY;
    for (int64_t base = 0; base < x.rows; base += kBase) {
      const int64_t width = std::min(kBase, x.rows - base);
      GemmNT(rows.data.data(), rows.rows, x.row(base), width, x.dim, dots.data());
      for (int64_t q = begin; q < end; ++q) {
        const uint32_t i = queries[q];
        for (int64_t j = 0; j < width; ++j) {
          const uint32_t other = base + j;
          if (component[other] == component[i]) continue;
          const float distance = DistanceFromSquare(norms[i] + norms[other] - 2 * dots[(q - begin) * width + j]);
          const MstEdge edge = MakeEdge(i, other, std::max({core[i], core[other], distance}));
          if (EdgeLess(edge, best[q])) best[q] = edge;
        }
      }
    }
  });
  // One per component.
  std::vector<std::pair<uint32_t, MstEdge>> by_component;
  for (int64_t q = 0; q < count; ++q) by_component.emplace_back(component[queries[q]], best[q]);
  std::sort(by_component.begin(), by_component.end(),
            [](const auto& l, const auto& r) { return l.first != r.first ? l.first < r.first : EdgeLess(l.second, r.second); });
  std::vector<MstEdge> edges;
  for (size_t i = 0; i < by_component.size(); ++i) {
    if (i == 0 || by_component[i].first != by_component[i - 1].first) edges.push_back(by_component[i].second);
  }
  std::sort(edges.begin(), edges.end(), EdgeLess);
  return edges;
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
  while (static_cast<int64_t>(mst.size()) < graph.rows - 1) {
    for (const MstEdge& edge : LightestOutgoing(x, core, sets, threads)) {
      if (sets.Union(edge.a, edge.b)) mst.push_back(edge);
    }
  }
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
