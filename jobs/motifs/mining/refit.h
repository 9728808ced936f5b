// Regions of a stored report, fitted again without each fifth of the runs, so that no run is counted by a region it drew.
#pragma once

#include <vector>

#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Streams the runs that a report was mined from. A region's centre becomes, for each fold, the mean direction of the runs inside
// the region that are of other folds; its threshold stays. Where fewer than 4 are, the region stays as it is. Memory: dim doubles
// per region and fold. Not thread-safe; the result depends on the runs and their order alone.
class Refit {
 public:
  // `motifs`: each motif's regions; those of another length than `dim` hold nothing.
  Refit(std::vector<std::vector<Region>> motifs, int64_t dim);
  void Add(const Matrix& rows, const Runs& runs, int threads);
  // One per motif, in order.
  [[nodiscard]] std::vector<Frozen> Fit() const;

 private:
  struct Sum {
    uint64_t rows = 0;
    std::vector<double> total;
  };
  const std::vector<std::vector<Region>> motifs_;
  const int64_t dim_;
  Judge judge_;                         // each region by itself, whatever the fold
  std::vector<std::vector<Sum>> sums_;  // per region, all motifs' one after the other, and fold
};

}  // namespace promptsweep::motifs
