// From many overlapping proposals to few motifs, each of which says something the others do not.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/mining/regions.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// A candidate that passed the test.
struct Proposal {
  Region region;
  RowSet members;  // of all rows, both sides
  Counts counts;
  double q = 1;         // adjusted over all candidates
  double evidence = 0;  // that the target shows it more often; log-likelihood ratio, or members where nothing is tested
  double score = 0;     // the larger the better
  double length = 1;    // of its members' mean
};

struct MergeOptions {
  double fdr = 0.05;
  double least_lift = 1.5;
  size_t most_motifs = 50;
  // Candidates that were tested.
  size_t tested = 1;
  // Nothing is tested, so a motif must end in a valley or a gap: where one crowd is merely skewed, two distributions fit it, too,
  // but not as far apart. Of few runs far from it there are too few in any place to make the far side of a valley.
  bool needs_valley = false;
};

// Greedily the best proposals by (significance, score), each of which still says something once the runs of those before it are
// set aside. Dropped: what is inside a better region, half of the target runs taken, what is left no longer enriched at the
// Benjamini-Hochberg step, and unions of two or more motifs that are each set apart by a gap.
[[nodiscard]] std::vector<Proposal> MergeProposals(std::vector<Proposal> proposals, const Runs& runs,
                                                   const MergeOptions& options);

// Shared members over all members; 1 for two empty sets.
[[nodiscard]] double Jaccard(const RowSet& a, const RowSet& b);

}  // namespace promptsweep::motifs
