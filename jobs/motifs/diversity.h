// How varied runs are: effective numbers of different runs by the spectrum of their mean outer product.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/inference.h"
#include "jobs/motifs/matrix.h"
#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

// With unit rows the kernel matrix K / n of cosines and C = X^T X / n have the same eigenvalues but for zeros, so both scores
// come from the dim x dim matrix: vendi = exp(- sum of l log l) (Friedman and Dieng, TMLR 2023), rke = 1 / sum of l^2
// (Jalali, Li and Farnia, NeurIPS 2023).
struct DiversityScore {
  double vendi = 0;
  Interval vendi_ci;
  double rke = 0;
  Interval rke_ci;
  uint64_t runs = 0;
};

inline constexpr int kJackknifeGroups = 20;

// Of the rows of one side. Intervals: delete-a-group jackknife of the score's logarithm with Student's t; groups are the runs
// dealt out in row order, or where the side has at least 20 prompts the prompts, so that they are as wide as prompts differ.
// Both scores are below those of infinitely many runs by about the number of dimensions over that of runs; intervals do not cover
// that. Intervals are the score itself for fewer than 40 rows. Sums in double in row order: the same bits for any number of
// threads. O(rows dim^2 + 20 dim^3) time, 20 dim^2 doubles.
[[nodiscard]] absl::StatusOr<DiversityScore> ScoreDiversity(const Matrix& x, const Runs& runs, bool target, int threads);

// Share of the baseline's rows that have a target row within the distance of their own k-th nearest baseline row (Naeem et al.,
// ICML 2020), on at most `most` rows of each side, as many of the one as of the other, drawn by `seed`. k = 5. 0 where a side
// has fewer than 6 rows.
[[nodiscard]] double BaselineCoverage(const Matrix& x, const Runs& runs, int64_t most, uint64_t seed, int threads);

}  // namespace promptsweep::motifs
