// Sets of rows that may be motifs, proposed without looking at labels: which run is target and which is baseline is unknown
// here, and that is what makes the test that follows exact.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/mining/regions.h"

namespace promptsweep::motifs {

struct CandidateOptions {
  uint64_t seed = 1;
  int threads = 1;
  // Rows a candidate must hold.
  int64_t fewest = 8;
};

// Density leaves (HDBSCAN* on the 32 nearest neighbours, min_samples 5) at several least sizes, spherical k-means cells at
// several mean sizes, and neighbourhoods of drawn rows. `x` has unit rows: the pooled runs.
[[nodiscard]] std::vector<Seeds> ProposeCandidates(const Matrix& x, const CandidateOptions& options);

struct RareSeeds {
  std::vector<Seeds> seeds;
  // Share of true neighbours the search found; below .95 there are no seeds.
  double recall = 0;
};

// Small density leaves among all rows, for motifs of which a sample holds too few: of at most `most` rows, the 1,000 tightest.
// Neighbours are sought approximately, or exactly where that fails and there are at most 120,000 rows.
[[nodiscard]] RareSeeds ProposeRare(const Matrix& x, int64_t most, const CandidateOptions& options);

// One per distinct set of members, the best separated kept; `members` is thinned alike. Sets with fewer than `fewest` rows or
// with more than 90 % of all `rows` go.
void DropDuplicates(std::vector<Region>& regions, std::vector<RowSet>& members, int64_t rows, int64_t fewest);

}  // namespace promptsweep::motifs
