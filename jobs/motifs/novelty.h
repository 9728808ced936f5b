// How often a run is unlike all others, how many kinds of runs there are, and how many more would turn up.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/inference.h"
#include "jobs/motifs/knn.h"
#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

// Runs looked at for novelty: more are drawn from, lest neighbours take long.
inline constexpr int64_t kMostNoveltyRuns = 10'000;

// The cosine from which two runs are called alike: the 99.9th percentile over 20,000 pairs of distinct target rows drawn by `seed`,
// pairs within one set of `motifs` left out. So it is a property of the spread of runs, not of their number. 1 for fewer
// than 2 target rows.
[[nodiscard]] double AlikeCosine(const Matrix& x, const RowSet& target, const std::vector<RowSet>& motifs, uint64_t seed);

// counts[i - 1]: kinds of exactly i rows, i up to graph.k; kinds are the rows linked by edges of the graph of a cosine of at
// least `alike`. counts[0] is the number of rows whose nearest other is not alike. `kinds`: all of them, larger ones included.
struct KindCounts {
  std::vector<uint64_t> counts;
  uint64_t kinds = 0;
  uint64_t rows = 0;
};
[[nodiscard]] KindCounts CountKinds(const KnnGraph& graph, double alike);

// Chao's (1984) lower bound for the number of kinds, f1 (f1 - 1) / 2 in place of f1^2 / (2 f2) where f2 is 0, and its
// log-normal 95 % interval (Chao 1987).
struct KindsEstimate {
  double at_least = 0;
  Interval ci;
};
[[nodiscard]] KindsEstimate Chao1(const KindCounts& kinds);

// New kinds expected in `times` as many further rows: Good and Toulmin's (1956) alternating series; above once as many smoothed by a
// binomial tail with q = 2 / (times + 2) and half log3(n times^2 / (times - 1)) trials (Orlitsky, Suresh, Wu, PNAS 2016). Never
// below 0. times > 0; good up to about log(n).
[[nodiscard]] double NewKinds(const KindCounts& kinds, double times);

// Of the target rows with an ordinal of at least `since`, those without any target row before `since` of a cosine of at least `alike`.
struct FreshNovelty {
  uint64_t runs = 0;
  uint64_t novel = 0;
};
[[nodiscard]] FreshNovelty CountFreshNovelty(const Matrix& x, const Runs& runs, uint64_t since, double alike, int threads);

}  // namespace promptsweep::motifs
