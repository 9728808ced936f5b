// Showing and naming a motif: which runs to look at, and the words that set it apart from the baseline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

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
  uint32_t word = 0;  // its row
  // Standard deviations of the baseline runs' own scores by which the members' mean score exceeds theirs.
  double z = 0;
  // How far the label stands out among all labels: see NameMotif. 0 where there are too few labels to tell.
  double standing = 0;
  // Share of resamples of the members in which it is the best label.
  double share = 0;
};

inline constexpr size_t kFewestWords = 20;

// Contrastive zero-shot naming, or silence. With d(l) = t_l . (mean of members - mean of baseline) and s(l) = sd over the
// baseline of t_l . x:
//   z(l)        = d(l) / s(l): words that fit everything score 0.
//   m(l)        = d(l) / (s(l) + median of s): moderated as in Tusher, Tibshirani & Chu (PNAS 2001), lest words that vary
//                 little in the baseline win by their small denominator.
//   standing(l) = (m(l) - median of m) / (1.4826 median absolute deviation of m): the robust z of the word among all words.
//                 It does not depend on how well an embedder's words and pictures agree in scale, only on whether one word is
//                 an outlier; were no word about the motif, standings would be about standard normal.
// A word stands out where standing >= the normal quantile of 1 - 0.05 / (number of words) (Bonferroni: at least one of words
// without meaning does so in 5 % of cases) and z >= 1. The motif stays unnamed unless, in 90 of 100 resamples of its members
// (in at most 200 groups), the best word is among those that stand out: so synonyms may take turns, chance may not.
// Under kFewestWords words have no standing; there z >= 3 is asked instead. Best first, at most `most`; empty means that no
// word stands out, that the baseline has fewer than 2 rows or that the dimensions differ. `words` is one unit row per label.
[[nodiscard]] std::vector<ScoredLabel> NameMotif(const Matrix& x, const RowSet& members, const RowSet& baseline,
                                                 const Matrix& words, const std::vector<std::string>& labels, size_t most = 5);

}  // namespace promptsweep::motifs
