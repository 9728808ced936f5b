// One motif in several models: how often in each, whether they differ, and whether it is shared or one model's own. Pure
// functions.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {

// Runs inside a region among all of some group.
struct Share {
  uint64_t in = 0;
  uint64_t of = 0;
};

struct Prevalence {
  Share runs;
  double share = 0;  // 0 without runs
  Interval ci;       // 95 %; [0, 1] without runs
};

// Of one model, its runs by prompt. Wilson's interval widened by the design effect of prompts; Clopper and Pearson's below 10
// members that prompts do not divide.
[[nodiscard]] Prevalence PrevalenceOf(const std::vector<Share>& by_prompt);

enum class Spread {
  // Runs are too few to say.
  kUndecided,
  // In two models or more.
  kShared,
  // In one model; in each of the others surely less than a quarter as often.
  kUnique,
  // Surely in none.
  kNone,
};

// A motif is in a model where the low end of its interval is above `least`, and surely not where the high end is below it.
[[nodiscard]] Spread SpreadOf(const std::vector<Prevalence>& by_model, double least);

// True where the motif is in the model `from` and surely less than a quarter as often in `to`.
[[nodiscard]] bool Vanished(const Prevalence& from, const Prevalence& to, double least);

struct Homogeneity {
  double statistic = 0;
  // Models that can be compared, less one; 0 where nothing can be, then p is 1.
  int degrees = 0;
  double p = 1;
};

// Is the share the same in all models? `strata[s]` has one entry per model: runs that are exchangeable under the null
// hypothesis, those of one prompt or of one prompt and seed. The generalised Mantel-Haenszel statistic for general association
// (Landis, Heyman and Koch 1978), chi-squared; where each stratum has one run per model it is Cochran's Q. Strata without a
// member or with only members say nothing and may be left out.
[[nodiscard]] Homogeneity TestHomogeneity(const std::vector<std::vector<Share>>& strata);

}  // namespace promptsweep::motifs
