// From embeddings and labels to motifs with proof. The method and its limits: README.md in this folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/mining/regions.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/statistics/stats.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct MineOptions {
  uint64_t seed = 1;
  int threads = 1;
  // False-discovery rate that "confirmed" controls.
  double fdr = 0.05;
  // Candidates are proposed on at most this many runs, drawn evenly from both sides, and rare ones on all that are at hand;
  // counting always covers all.
  int64_t discovery_runs = 30'000;
  // What a motif must reach beside significance: lift, and the lower end of the prevalence interval.
  double least_lift = 1.5;
  double least_prevalence = 0.001;
  // Rarer ones matter where the lower end of lift reaches this: few runs, but hardly any elsewhere.
  double least_lift_of_rare = 3;
  // The latter where there is no baseline.
  double least_prevalence_descriptive = 0.005;
  // At most this many motifs are reported.
  size_t most_motifs = 50;
};

enum class Tier { kConfirmed, kCandidate, kDescriptive };

struct Finding {
  Region region;
  // Further regions counted together with it: other looks of the same thing. See Combine.
  std::vector<Region> looks;
  Tier tier = Tier::kCandidate;
  // What judges runs, those at hand and those to come.
  Frozen frozen;
  // Its name in reports, where it has one already.
  std::string key;
  // Rows inside, each judged by the region fitted without its fold; ascending.
  RowSet members;
  Counts counts;
  double prevalence = 0;
  // Its upper end allows for `missed`.
  Interval prevalence_ci;
  // Share of the motif's members expected beyond the region's edge, where that is no gap; see ShareBeyond.
  double missed = 0;
  std::optional<Lift> lift;
  // Adjusted over all candidates.
  std::optional<double> q;
  // Mean Jaccard similarity of the members with those of the five refitted regions.
  double stability = 0;
  // Mean cosine of target members to the centre.
  double mean_cosine = 0;
};

struct Mined {
  // By tier, then prevalence.
  std::vector<Finding> findings;
  uint64_t candidates = 0;
  // Share of nearest neighbours that the search for rare motifs found; absent where all runs were looked at alike. Below .95 no
  // rare ones were sought.
  std::optional<double> recall;
  Exchangeable exchangeable = Exchangeable::kNothing;
};

// `x`: unit rows, one per run of `runs`. The same input gives the same bits for any number of threads.
[[nodiscard]] Mined MineMotifs(const Matrix& x, const Runs& runs, const MineOptions& options);

// A finding's members on the target side.
[[nodiscard]] RowSet TargetMembers(const Finding& finding, const Runs& runs);

// What those (`members`) are compared with in words: the baseline, or without one the other runs.
[[nodiscard]] RowSet ComparedWith(const Finding& finding, const RowSet& members, const Runs& runs);

// Rows that show none of the findings, of the baseline where there is one: what random directions are drawn from. Of fewer than
// kFewestBackground nothing is said.
inline constexpr size_t kFewestBackground = 20;
[[nodiscard]] RowSet WithoutMotif(const std::vector<Finding>& findings, const Runs& runs);

// Sets counts, prevalence, lift and their intervals from what is inside.
void Measure(const Design& design, const Tallies& inside, Finding& finding);

// The last step of mining, also for runs that were counted elsewhere: measures each finding by `inside`, one per finding, tests
// them again among themselves, drops those that are gone and gives the others their tier. Sorted.
[[nodiscard]] std::vector<Finding> Settle(const Design& design, const std::vector<Tallies>& inside, std::vector<Finding> findings,
                                          const MineOptions& options);

// Findings of one tier that are the same thing to their reader (they got the same name) as one: a run is inside if it is
// inside any. The largest gives the region, the others become looks; counts and intervals are those of the union, q is the
// largest of theirs. `parts` is not empty.
[[nodiscard]] Finding Combine(const Matrix& x, const Runs& runs, std::vector<Finding> parts);

// Sets the order of Mined::findings.
void SortFindings(std::vector<Finding>& findings);

}  // namespace promptsweep::motifs
