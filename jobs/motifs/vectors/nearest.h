// The k nearest of a stream of candidates; what exact and approximate search share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "jobs/motifs/vectors/knn.h"
#include "jobs/motifs/vectors/scan.h"

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
    for (int64_t j = NextWithin(norm, norms, dots, Bound(), 0, width); j < width;
         j = NextWithin(norm, norms, dots, Bound(), j + 1, width)) {
      if (id(j) != self) Offer({DistanceFromSquare(norm + norms[j] - 2 * dots[j]), id(j)});
    }
  }
  void Offer(const Neighbour& candidate) {
    if (heap_.size() < k_) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end());
    } else if (candidate < heap_[0]) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end());
    }
  }
  // Offers all that `other` has kept.
  void Offer(const Nearest& other) {
    for (const Neighbour& candidate : other.heap_) Offer(candidate);
  }

  // A squared distance above which nothing is kept; loose, so that the square root and the rounding stay off the common path.
  float Bound() const { return heap_.size() < k_ ? INFINITY : heap_[0].distance * heap_[0].distance * (1 + 1e-6f) + 1e-5f; }

  // Nearest first. Ends the collection.
  const std::vector<Neighbour>& Sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    return heap_;
  }

 private:
  const size_t k_;
  std::vector<Neighbour> heap_;  // max-heap
};

// Writes a row of the graph; `neighbours` are at most k, nearest first.
void SetNeighbours(KnnGraph& graph, int64_t row, const std::vector<Neighbour>& neighbours);

}  // namespace promptsweep::motifs
