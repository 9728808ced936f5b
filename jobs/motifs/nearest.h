// The k nearest of a stream of candidates; what exact and approximate search share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "jobs/motifs/knn.h"

namespace promptsweep::motifs {

struct Neighbour {
  float distance;
  uint32_t id;
  bool operator<(const Neighbour& o) const { return distance != o.distance ? distance < o.distance : id < o.id; }
};

// Keeps the k least by (distance, id). The order of offers does not matter; no candidate is offered twice.
class Nearest {
 public:
  explicit Nearest(int64_t k) : k_(static_cast<size_t>(k)) {}

  // Offers `width` candidates: their squared distances are norm + norms[j] - 2 * dots[j], their ids id(j). `self` is passed over.
  template <typename Id>
  void Offer(float norm, const float* norms, const float* dots, int64_t width, uint32_t self, const Id& id) {
    // A loose bound keeps the square root and the rounding off the common path.
    float bound = Bound();
    for (int64_t j = 0; j < width; ++j) {
      const float square = norm + norms[j] - 2 * dots[j];
      if (square > bound || id(j) == self) continue;
      const Neighbour candidate{DistanceFromSquare(square), id(j)};
      if (heap_.size() < k_) {
        heap_.push_back(candidate);
        std::push_heap(heap_.begin(), heap_.end());
      } else if (candidate < heap_[0]) {
        std::pop_heap(heap_.begin(), heap_.end());
        heap_.back() = candidate;
        std::push_heap(heap_.begin(), heap_.end());
      }
      bound = Bound();
    }
  }

  // Nearest first. Ends the collection.
  const std::vector<Neighbour>& Sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    return heap_;
  }

 private:
  float Bound() const { return heap_.size() < k_ ? INFINITY : heap_[0].distance * heap_[0].distance * (1 + 1e-6f) + 1e-5f; }

  const size_t k_;
  std::vector<Neighbour> heap_;  // max-heap
};

// Writes a row of the graph; `neighbours` are at most k, nearest first.
void SetNeighbours(KnnGraph& graph, int64_t row, const std::vector<Neighbour>& neighbours);

}  // namespace promptsweep::motifs
