// Kinds of things: the hypernyms of a vocabulary under which many words, not one, speak for a motif.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct Kind {
  uint32_t word = 0;  // the hypernym
  double z = 0;       // how far its subtree stands out, in standard deviations of directions without meaning
  double p = 0;       // adjusted over all subtrees
};

// Subtrees of a vocabulary with parents, and how each scores on directions without meaning. Immutable and thread-safe.
//
// For a direction y a word's standing is the robust z, among all words, of t.y / (s + median of s), s being its sd over the
// background (as in explain.h). A subtree scores the mean standing of its words, the hypernym among them, less the one
// that stands highest, lest one word carry it. The score's mean and sd are those over 199 directions drawn with the background's
// covariance (sums of its rows, centred, up to 2,000 of them, with random signs): words of one kind agree by chance too, and only
// such draws, not random sets of words, say by how much. A subtree's z is its standardised score; it stands out where no more
// than 5 % of draws have a subtree, of any size, with as large a z (Westfall & Young 1993, single-step max-T), each draw's by the
// mean and sd of the others.
class Hierarchy {
 public:
  static constexpr double kFalseKinds = 0.05;
  static constexpr size_t kFewestWords = 4;  // in a subtree; at most a third of all words

  // `words`: a unit row per label; `parents` as in VocabularyFile. `background`: at least 2 rows of `x` that show no motif.
  Hierarchy(const Matrix& words, const std::vector<int>& parents, const Matrix& x, const RowSet& background);

  // Subtrees that stand out along (mean of members - mean of baseline), best first, ties to the lower word.
  [[nodiscard]] std::vector<Kind> StandingOut(const Matrix& x, const RowSet& members, const RowSet& baseline) const;

  // The ancestors of `word` that are among `kinds`, topmost first, then `word` itself.
  [[nodiscard]] std::vector<uint32_t> Path(uint32_t word, absl::Span<const Kind> kinds) const;

  size_t subtrees() const { return roots_.size(); }

 private:
  std::vector<double> Scores(absl::Span<const float> dots) const;

  const Matrix words_;
  const std::vector<int> parents_;
  std::vector<uint32_t> roots_;               // of the subtrees that are tested, ascending
  std::vector<std::vector<uint32_t>> above_;  // for each word the subtrees, by index into roots_, that hold it
  std::vector<size_t> sizes_;
  std::vector<double> scale_, mean_, sd_;
  std::vector<double> largest_;  // z of each draw, ascending
};

}  // namespace promptsweep::motifs
