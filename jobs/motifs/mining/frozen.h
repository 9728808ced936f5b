// Motifs frozen for counting: any number of runs, at hand or streamed, is judged by regions that these runs had no say in.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "jobs/motifs/mining/regions.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct Frozen {
  // A run of fold f is inside where one of by_fold[f] holds it: regions fitted without that fold. More than one where several
  // looks count as one motif; regions with an empty centre hold nothing.
  std::array<std::vector<Region>, kFolds> by_fold;
};

// Rounds the centre to half floats, in which reports keep it: a motif read back from a report holds the same runs.
void RoundCentre(Region& region);

// Judges rows by frozen motifs. Immutable; thread-safe.
class Judge {
 public:
  Judge(std::vector<Frozen> motifs, int64_t dim);

  // (row, motif) for every motif that holds a row, ascending. `x`: unit rows of `dim`, `folds` one per row. What is said of a row
  // depends on it alone, whichever rows stand beside it.
  [[nodiscard]] std::vector<std::pair<uint32_t, uint32_t>> Inside(const Matrix& x, const std::vector<uint8_t>& folds,
                                                                  int threads) const;
  size_t motifs() const { return motifs_.size(); }

 private:
  const std::vector<Frozen> motifs_;
  // All regions of all folds, and whose they are.
  struct Owner {
    uint32_t motif;
    uint8_t fold;
    const Region* region;
  };
  std::vector<Owner> owners_;
  Matrix centres_;
};

// Members of each motif, ascending.
[[nodiscard]] std::vector<RowSet> MembersOf(const Matrix& x, const std::vector<uint8_t>& folds, const std::vector<Frozen>& motifs,
                                            int threads);

// Tallies of regions over all rows, without lists of members.
[[nodiscard]] std::vector<Tallies> TallyRegions(const Matrix& x, const Runs& runs, const std::vector<Region>& regions,
                                                int threads);

}  // namespace promptsweep::motifs
