// How much a set of runs has not shown yet: the share of runs unlike every other, kinds of runs not seen, and how many more would
// come to light with more runs.
//
// "Alike" is a cosine of at least tau. The share of runs that have nothing alike among the others is the estimate of Good (1953)
// of the probability that the next run is unlike all so far, by leaving each run out in turn.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/statistics/stats.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// How alike two runs must be: the cosine that 1 in 1,000 of 200,000 pairs drawn from `rows` reach. Taken on the baseline, so that
// a target that keeps drawing one thing repeats itself; on the target where there is no baseline, which then measures repetition
// beyond what most pairs have. At most 1 - 2^-20, that of copies. That for fewer than two rows.
[[nodiscard]] double ChooseTau(const Matrix& x, const RowSet& rows, uint64_t seed);

struct Novelty {
  double tau = 0;
  // Runs that were compared with each other: all, or kMostNoveltyRuns of them drawn evenly.
  uint64_t runs = 0;
  // Runs whose nearest other is below tau, and their share.
  uint64_t unlike = 0;
  double rate = 0;
  // 95 %: the wider of Esty (1983), variance (f1 (1 - f1 / n) + 2 f2) / n^2 with 2 f2 the runs alike to exactly one other, and
  // Clopper and Pearson.
  Interval ci{0, 1};
  // Kinds: taken in order, a run joins the first kind whose first run is alike, or founds one. `once` have one run, `twice` two.
  uint64_t kinds = 0, once = 0, twice = 0;
  // Lower bound of the kinds there are (Chao 1984, bias-corrected): kinds + once (once - 1) / (2 (twice + 1)).
  double kinds_at_least = 0;
  // Kinds not seen yet that as many further runs, and four times as many, would show; see GoodToulmin.
  double new_if_doubled = 0, new_if_fivefold = 0;
};

inline constexpr size_t kMostNoveltyRuns = 10'000;

// `x`: unit rows, of which `rows` count. The same result for any number of threads.
[[nodiscard]] Novelty MeasureNovelty(const Matrix& x, const RowSet& rows, double tau, uint64_t seed, int threads);

// Kinds that t times as many further runs would add: Good and Toulmin (1956) up to t = 1, beyond it smoothed with a binomial of
// ceil(log3(n t^2 / (t - 1)) / 2) trials at chance 2 / (2 + t) (Orlitsky, Suresh and Wu 2016), useful up to t about log n. At
// least 0, at most n t. `of_size[i]`: kinds with i + 1 runs; n: their runs.
[[nodiscard]] double GoodToulmin(const std::vector<uint64_t>& of_size, double t);

}  // namespace promptsweep::motifs
