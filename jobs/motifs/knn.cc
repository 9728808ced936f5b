#include "jobs/motifs/knn.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/motifs/gemm.h"
#include "jobs/motifs/nearest.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kQueryTile = 128, kBaseTile = 2048;

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
  RowSet everything(x.rows);
  std::iota(everything.begin(), everything.end(), 0u);
  return ExactKnnOf(x, everything, k, threads);
}

KnnGraph ExactKnnOf(const Matrix& x, const RowSet& queries, int64_t k, int threads) {
  KnnGraph graph;
  graph.rows = queries.size();
  graph.k = std::max<int64_t>(0, std::min(k, x.rows - 1));
  graph.ids.resize(graph.rows * graph.k);
  graph.distances.resize(graph.rows * graph.k);
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
