// What a motif is made of: a few words of a vocabulary whose weighted sum points where the motif points.
// After SpLiCE (Bhalla, Oesterling, Srinivas, Calmon & Lakkaraju, NeurIPS 2024): words and pictures each centred on their own
// mean, which closes the gap between the two modalities, then a non-negative lasso.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct Concept {
  uint32_t word = 0;  // row of the vocabulary
  double weight = 0;  // > 0
};

struct Decomposition {
  std::vector<Concept> concepts;  // heaviest first, ties to the lower word
  double cosine = 0;              // of the words' weighted sum with what was decomposed; 0 without concepts
  double penalty = 0;             // the one that was used
};

// The minimum over w >= 0 of ||y - sum of w_l x_l||^2 / 2 + threshold * sum of w_l, x_l being the rows of `words`, by coordinate
// descent over a growing set of words until no other word can enter. Weights to within 1e-9 of the minimum of a well-posed
// problem. Equals scikit-learn's Lasso(alpha = threshold / dim, positive=True, fit_intercept=False) on the transpose. `y` has
// words.dim elements; threshold > 0. `start` may hold the solution for another threshold. Words with weight > 0, by row.
// Thread-safe.
[[nodiscard]] std::vector<Concept> NonNegativeLasso(const Matrix& words, absl::Span<const double> y, double threshold,
                                                    absl::Span<const Concept> start = {});

struct DecomposeOptions {
  // SpLiCE's l1_penalty, with its default: ||y - Xw||^2 + penalty * sum of w for unit y and unit words.
  double penalty = 0.25;
  // Where that gives more than `most` concepts it is raised by steps of a tenth until it does not; where it gives fewer than
  // `fewest`, lowered likewise while `least_penalty` allows.
  size_t most = 20, fewest = 5;
  double least_penalty = 0.125;
  // Concepts lighter than this share of the heaviest are not listed, but count in the cosine.
  double least_share = 0.05;
};

// A vocabulary centred on its mean, unit rows. Immutable and thread-safe.
class ConceptSpace {
 public:
  // `words` is one unit row per word, at least two. A word equal to the mean has a zero row and never enters.
  explicit ConceptSpace(const Matrix& words);

  // Decomposes the direction of `y` (words().dim elements), which must be centred already. Without concepts where y is zero or
  // no word agrees with it.
  [[nodiscard]] Decomposition Decompose(absl::Span<const double> y, const DecomposeOptions& options = {}) const;

  const Matrix& words() const { return words_; }

 private:
  Matrix words_;
};

struct MotifConcepts {
  // Of the members' mean, centred on the mean of all rows: what the motif shows.
  Decomposition shows;
  // Of the members' mean less the baseline's: what sets it apart.
  Decomposition apart;
};

// Decomposes motifs, or says nothing: a decomposition is kept only if its cosine exceeds those of 39 of 40 directions drawn at
// random with the covariance of the background (sums of its rows, centred, up to 2,000 of them, with random signs), so a
// direction that means nothing gets concepts in about one case of 40. Immutable and thread-safe.
class ConceptReader {
 public:
  // `background` are rows that show no motif, at least 2; were members among them, the drawn directions would point to the
  // motifs. `space` must outlive the reader; x.dim == space.words().dim.
  ConceptReader(const ConceptSpace& space, const Matrix& x, const RowSet& background, const DecomposeOptions& options = {});

  // Neither set is empty.
  [[nodiscard]] MotifConcepts Read(const Matrix& x, const RowSet& members, const RowSet& baseline) const;

  // The cosine a decomposition must exceed.
  double bar() const { return bar_; }

 private:
  Decomposition Kept(absl::Span<const double> y) const;

  const ConceptSpace& space_;
  const DecomposeOptions options_;
  std::vector<double> mean_;
  double bar_ = 0;
};

}  // namespace promptsweep::motifs
