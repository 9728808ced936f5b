#include "jobs/motifs/vectors/knn.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/nearest.h"
#include "jobs/motifs/vectors/scan.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kQueryTile = 256, kBaseTile = 2048;
// Side of the square blocks of all pairs.
constexpr int64_t kBlock = 768;

// The nearest seen so far of every row, and how near a pair must be to be among them.
struct Collected {
  Collected(int64_t rows, int64_t k) : nearest(rows, Nearest(k)), bounds(rows, INFINITY), dots(kBlock * kBlock) {}
  std::vector<Nearest> nearest;
  std::vector<float> bounds;
  AlignedFloats dots;
};

// `k` lowered to what `x` has.
KnnGraph EmptyGraph(int64_t rows, const Matrix& x, int64_t k) {
  KnnGraph graph;
  graph.rows = rows;
  graph.k = std::max<int64_t>(0, std::min(k, x.rows - 1));
  graph.ids.resize(graph.rows * graph.k);
  graph.distances.resize(graph.rows * graph.k);
  return graph;
}

// Offers each pair of a row of the block from `first` and one of the block from `second` >= first to both of them.
void OfferBlock(const Matrix& x, const std::vector<float>& norms, int64_t first, int64_t second, Collected& collected) {
  const int64_t height = std::min(kBlock, x.rows - first), width = std::min(kBlock, x.rows - second);
  GemmNT(x.row(first), height, x.row(second), width, x.dim, collected.dots.data());
  for (int64_t q = 0; q < height; ++q) {
    const int64_t i = first + q;
    const float* dots = collected.dots.data() + q * width;
    const float* others = norms.data() + second;
    const float* bounds = collected.bounds.data() + second;
    const auto next = [&](int64_t from) { return NextWithin(norms[i], others, dots, collected.bounds[i], bounds, from, width); };
    for (int64_t j = next(first == second ? q + 1 : 0); j < width; j = next(j + 1)) {
      const float distance = DistanceFromSquare(norms[i] + others[j] - 2 * dots[j]);
      for (const auto& [row, other] : {std::pair(i, second + j), std::pair(second + j, i)}) {
        collected.nearest[row].Offer({distance, static_cast<uint32_t>(other)});
        collected.bounds[row] = collected.nearest[row].Bound();
      }
    }
  }
}

}  // namespace

std::vector<float> SquaredNorms(const Matrix& x) {
  std::vector<float> norms(x.rows);
  for (int64_t i = 0; i < x.rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < x.dim; ++j) sum += static_cast<double>(x.row(i)[j]) * x.row(i)[j];
    norms[i] = static_cast<float>(sum);
  }
  return norms;
}

float DistanceFromSquare(double square) {
  constexpr double kGrid = 1 << 20;
  return static_cast<float>(std::sqrt(std::max(0.0, std::round(square * kGrid)) / kGrid));
}

void SetNeighbours(KnnGraph& graph, int64_t row, const std::vector<Neighbour>& neighbours) {
  for (size_t j = 0; j < neighbours.size(); ++j) {
    graph.ids[row * graph.k + j] = neighbours[j].id;
    graph.distances[row * graph.k + j] = neighbours[j].distance;
  }
}

KnnGraph ExactKnn(const Matrix& x, int64_t k, int threads) {
  KnnGraph graph = EmptyGraph(x.rows, x, k);
  if (graph.k == 0) return graph;
  const std::vector<float> norms = SquaredNorms(x);
  // Each pair is multiplied once. What a thread has seen is its own; which of the nearest are kept does not depend on the order.
  const int64_t blocks = (x.rows + kBlock - 1) / kBlock;
  std::vector<Collected> collected(std::clamp<int64_t>(threads, 1, blocks * (blocks + 1) / 2), Collected(x.rows, graph.k));
  ForEachPairOfBlocks(x.rows, kBlock, collected.size(), [&](int64_t worker, int64_t first, int64_t second) {
    OfferBlock(x, norms, first, second, collected[worker]);
  });
  for (int64_t i = 0; i < x.rows; ++i) {
    for (size_t worker = 1; worker < collected.size(); ++worker) collected[0].nearest[i].Offer(collected[worker].nearest[i]);
    SetNeighbours(graph, i, collected[0].nearest[i].Sorted());
  }
  return graph;
}

KnnGraph ExactKnnOf(const Matrix& x, const RowSet& queries, int64_t k, int threads) {
  KnnGraph graph = EmptyGraph(queries.size(), x, k);
  if (graph.k == 0) return graph;
  const std::vector<float> norms = SquaredNorms(x);
  ParallelFor(threads, (graph.rows + kQueryTile - 1) / kQueryTile, [&](int64_t tile) {
    const int64_t begin = tile * kQueryTile, count = std::min(kQueryTile, graph.rows - begin);
    const RowSet rows(queries.begin() + begin, queries.begin() + begin + count);
    const Matrix asked = Gather(x, rows);
    AlignedFloats dots(kQueryTile * kBaseTile);
    std::vector<Nearest> nearest(count, Nearest(graph.k));
    for (int64_t base = 0; base < x.rows; base += kBaseTile) {
      const int64_t width = std::min(kBaseTile, x.rows - base);
      GemmNT(asked.data.data(), count, x.row(base), width, x.dim, dots.data());
      for (int64_t q = 0; q < count; ++q) {
        nearest[q].Offer(norms[rows[q]], norms.data() + base, dots.data() + q * width, width, rows[q],
                         [base](int64_t j) { return static_cast<uint32_t>(base + j); });
      }
    }
    for (int64_t q = 0; q < count; ++q) SetNeighbours(graph, begin + q, nearest[q].Sorted());
  });
  return graph;
}

}  // namespace promptsweep::motifs
