// How many runs it takes: to know a share so well, to see a motif at all, to tell two shares apart. Pure functions; a number of
// runs that is beyond kMostRuns, or can never be enough, is 0.
#pragma once

#include <cstdint>

#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

inline constexpr double kMostRuns = 1e12;

// Target runs with which a motif whose members are alike (mean cosine .9, .5 elsewhere) is found and confirmed against as many
// baseline runs in at least 95 of 100 sets (runs_needed_test.cc).
inline constexpr uint64_t kMembersToFind = 20;

// Least n at which Wilson's 95 % interval of a share seen as p is at most twice `halfwidth` wide: about 61.5 (1 - p) / p for
// +-25 % of p. For one look at a number of runs fixed beforehand, multiplied by the design effect. 0 < p < 1.
[[nodiscard]] uint64_t RunsToHalfwidth(double p, double halfwidth, double design_effect = 1);

// The same of ConfidenceSequence, for stopping as soon as it is reached.
[[nodiscard]] uint64_t RunsToHalfwidthAnytime(double p, double halfwidth, double error = 0.05);

// Least n at which ConfidenceSequence around the share p lies on one side of `bar`.
[[nodiscard]] uint64_t RunsToDecideAnytime(double p, double bar, double error = 0.05);

// Least n with P(at least `members` of n) >= chance at the share p. By the beta integral: about half the `chance` quantile of
// chi-square with 2 members degrees of freedom over p (3.0/p for 1, 15.7/p for 10, 27.9/p for 20), less where p is large.
[[nodiscard]] uint64_t RunsToSee(double p, uint64_t members, double chance = 0.95);

// Largest share of a motif that may have had fewer than `members` of n runs with a probability above 1 - chance: a more frequent
// one would have shown `members` times. 1 for n < members.
[[nodiscard]] double UnseenBelow(uint64_t n, uint64_t members, double chance = 0.95);

// The same where up to `per_seed` runs share a seed and may show a motif all together or not at all: n u / per_seed is the mean
// of a sum of independent values in [0, 1], and Chernoff's bound says how surely that is at least members / per_seed. With 1 it
// is the above.
[[nodiscard]] double UnseenBelowBySeed(uint64_t n, uint64_t per_seed, uint64_t members, double chance = 0.95);

// A number of target runs, with `ratio` times as many baseline runs, at which Fisher's one-sided test at `level` tells the share
// `target` from the smaller `baseline` with probability `power`: by exact sums where up to some 200 target runs would be inside,
// else by Casagrande, Pike and Smith (1978), for unequal numbers after Fleiss, Tytun and Ury (1980). The design effects multiply
// the variance of their side. 0 where target <= baseline.
[[nodiscard]] uint64_t RunsToTellApart(double target, double baseline, double ratio = 1, double level = 0.05, double power = 0.95,
                                       double target_deff = 1, double baseline_deff = 1);

}  // namespace promptsweep::motifs
