#include "jobs/motifs/knn.h"

#include <algorithm>
#include <cmath>

#include "jobs/motifs/gemm.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kQueryTile = 128, kBaseTile = 2048;

struct Neighbour {
  float distance;
  uint32_t id;
  bool operator<(const Neighbour& o) const { return distance != o.distance ? distance < o.distance : id < o.id; }
};

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

KnnGraph ExactKnn(const Matrix& x, int64_t k, int threads) {
  KnnGraph graph;
  graph.rows = x.rows;
  graph.k = std::max<int64_t>(0, std::min(k, x.rows - 1));
  graph.ids.resize(graph.rows * graph.k);
  graph.distances.resize(graph.rows * graph.k);
  if (graph.k == 0) return graph;
  const std::vector<float> norms = SquaredNorms(x);
  ParallelFor(threads, (x.rows + kQueryTile - 1) / kQueryTile, [&](int64_t tile) {
    const int64_t begin = tile * kQueryTile, count = std::min(kQueryTile, x.rows - begin);
    AlignedFloats dots(kQueryTile * kBaseTile);
    std::vector<std::vector<Neighbour>> heaps(count);  // max-heaps of the k best so far
    for (int64_t base = 0; base < x.rows; base += kBaseTile) {
      const int64_t width = std::min(kBaseTile, x.rows - base);
      GemmNT(x.row(begin), count, x.row(base), width, x.dim, dots.data());
      for (int64_t q = 0; q < count; ++q) {
        std::vector<Neighbour>& heap = heaps[q];
        const float* dot = dots.data() + q * width;
        const float norm = norms[begin + q];
        // A loose bound keeps the square root and the rounding off the common path.
        float bound = heap.size() == static_cast<size_t>(graph.k) ? heap[0].distance * heap[0].distance + 1e-5f : INFINITY;
        for (int64_t j = 0; j < width; ++j) {
          const float square = norm + norms[base + j] - 2 * dot[j];
          if (square > bound || base + j == begin + q) continue;
          const Neighbour candidate{DistanceFromSquare(square), static_cast<uint32_t>(base + j)};
          if (heap.size() < static_cast<size_t>(graph.k)) {
            heap.push_back(candidate);
            std::push_heap(heap.begin(), heap.end());
          } else if (candidate < heap[0]) {
            std::pop_heap(heap.begin(), heap.end());
            heap.back() = candidate;
            std::push_heap(heap.begin(), heap.end());
          }
          if (heap.size() == static_cast<size_t>(graph.k)) bound = heap[0].distance * heap[0].distance * (1 + 1e-6f) + 1e-5f;
        }
      }
    }
    for (int64_t q = 0; q < count; ++q) {
      std::sort_heap(heaps[q].begin(), heaps[q].end());
      for (int64_t j = 0; j < graph.k; ++j) {
        graph.ids[(begin + q) * graph.k + j] = heaps[q][j].id;
        graph.distances[(begin + q) * graph.k + j] = heaps[q][j].distance;
      }
    }
  });
  return graph;
}

}  // namespace promptsweep::motifs
