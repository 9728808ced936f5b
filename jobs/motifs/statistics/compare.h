// How one motif's share changed from one group of runs to another, and what may be said of it. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "jobs/motifs/statistics/across.h"
#include "jobs/motifs/statistics/difference.h"

namespace promptsweep::motifs {

enum class Change {
  // Neither more nor fewer is proven.
  kNone,
  kMoreInFrom,
  kMoreInTo,
  // More in the first group, and surely less than a quarter as often in the second (across.h, Vanished).
  kGone,
  // The reverse.
  kNew,
};

struct ComparedShares {
  Prevalence from, to;
  // Of the pairs, `first` being the second group (to); absent where groups are compared.
  std::optional<Pairs> pairs;
  // Second group less first.
  Difference difference;
  // Two-sided, of "equally often in both".
  double p = 1;
  // The same adjusted over all motifs compared (Benjamini-Hochberg).
  double q = 1;
  Change change = Change::kNone;
};

// Runs of both groups by prompt; a prompt has the same place in both. With pairs: PairedDifference and McNemar's exact test.
// Without: Newcombe's interval with the design effect of prompts on the difference (what prompts do to both groups alike
// cancels), and where both groups have the same prompts the exact stratified test within prompts; where each has one prompt of
// its own, or prompts make no difference, Fisher's test; else Student's t over prompts.
[[nodiscard]] ComparedShares Compare(const std::vector<Share>& from, const std::vector<Share>& to,
                                     const std::optional<Pairs>& pairs);

// Sets q and change. Different means q <= 0.05 and a 95 % interval of the difference without 0. A motif is in a group where the
// low end of its interval is above `least`.
void DecideChanges(std::vector<ComparedShares>& comparisons, double least);

// Design effect of prompts on the difference of two shares: its variance over prompts, shared ones on both sides at once, over
// the binomial one, at least 1; 1 with fewer than two prompts in all. A side with one prompt adds its binomial variance.
[[nodiscard]] double DifferenceDesignEffect(const std::vector<Share>& from, const std::vector<Share>& to);

}  // namespace promptsweep::motifs
