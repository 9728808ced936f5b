// Showing and naming a motif: which runs to look at, and the words that set it apart from the baseline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/motifs/matrix.h"

namespace promptsweep::motifs {

struct Exemplars {
  uint32_t medoid = 0;
  RowSet diverse;     // up to 8, the medoid not among them: farthest-point order among members at least as close as the median
  RowSet borderline;  // up to 4, the least close members, least close first
};

// `members` is not empty. Ties go to the lower row.
[[nodiscard]] Exemplars ChooseExemplars(const Matrix& x, const RowSet& members, const std::vector<float>& centre);

struct ScoredLabel {
  std::string label;
  // Standard deviations of the baseline runs' own scores by which the members' mean score exceeds theirs.
  double z = 0;
};

// Contrastive zero-shot naming: z(l) = t_l . (mean of members - mean of baseline) / sd over baseline of t_l . x. Words that
// fit everything score 0. The best `most` with z >= `least`, best first; empty means that no word stands out. `words` is one
// unit row per label. Empty as well where the baseline has fewer than 2 rows or the dimensions differ.
[[nodiscard]] std::vector<ScoredLabel> NameMotif(const Matrix& x, const RowSet& members, const RowSet& baseline,
                                                 const Matrix& words, const std::vector<std::string>& labels, double least = 3,
                                                 size_t most = 5);

}  // namespace promptsweep::motifs
