// Are a region's runs more often target than chance allows? The null hypothesis is that labels could be exchanged; between
// what, depends on how the two sides were drawn.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/motifs/statistics/stats.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// What is known of how the sides were drawn.
enum class Comparison {
  // Nothing: it is read off the prompts.
  kAsDrawn,
  // Each target run has baseline runs that differ from it in nothing but what is asked about; they share its stratum.
  kPaired,
  // Prompts are what was drawn.
  kPrompts,
  // The sides are known to differ.
  kUntested,
};

// What is known of each run beside its embedding. One entry per row.
struct Runs {
  std::vector<uint64_t> ordinal;   // ascending
  std::vector<uint8_t> is_target;  // else baseline
  std::vector<uint32_t> prompt;    // dense ids from 0, the same on both sides
  std::vector<uint8_t> fold;       // 0..kFolds-1, by hash of (prompt, seed)
  // Only of runs that come from a store, else empty.
  std::vector<int64_t> seed;
  std::vector<uint32_t> asked;  // dense ids from 0 of what is asked but the seed: model, prompt, settings
  // Only of runs that come from a store block by block, else empty. Dense ids from 0; what runs of one prompt and seed share.
  std::vector<uint32_t> model;
  std::vector<uint64_t> pair;
  // Of kPaired, else empty: dense ids from 0 of what may be exchanged. Runs of one stratum share their prompt.
  std::vector<uint32_t> stratum;
  Comparison comparison = Comparison::kAsDrawn;
  uint32_t StratumOf(size_t i) const { return stratum.empty() ? prompt[i] : stratum[i]; }
  size_t size() const { return ordinal.size(); }
};

inline constexpr int kFolds = 5;

// What may be exchanged under the null hypothesis.
enum class Exchangeable {
  // No baseline, or one that is known to differ: nothing.
  kNothing,
  // Nearly all target runs are in a stratum with baseline runs: runs of one stratum. Fisher's test within strata, which for pairs
  // is
  // McNemar's.
  kPairs,
  // The sides share their prompts: runs of one prompt. Fisher's test within prompts.
  kRunsWithinPrompt,
  // Each side has at least 8 prompts of its own, or where prompts were drawn there are 1,000 ways to choose them: whole prompts.
  // Permutation of prompts, largest statistic over all regions.
  kPrompts,
  // Otherwise (a blank prompt against many prompts): runs. Fisher's test; baseline prompts still widen the lift's interval.
  kRuns,
};

// How many runs of one stratum are inside a region.
struct Tally {
  uint32_t prompt = 0;
  uint32_t stratum = 0;
  uint64_t target_in = 0;
  uint64_t baseline_in = 0;
};
// Ascending by stratum, none empty. All that tests and intervals need of a region, whatever the number of runs.
using Tallies = std::vector<Tally>;

// Tests regions, given as member lists or as tallies, against one fixed design. Immutable; thread-safe.
class Design {
 public:
  explicit Design(const Runs& runs);
  // Of runs that are not at hand: `totals` says how many each prompt, which is its own stratum, has on either side. Takes no
  // member lists.
  explicit Design(const Tallies& totals, Comparison comparison = Comparison::kAsDrawn);

  Exchangeable exchangeable() const { return exchangeable_; }
  // The null hypothesis in words, for the report.
  std::string NullInWords() const;

  uint64_t target_runs() const { return target_runs_; }
  uint64_t baseline_runs() const { return baseline_runs_; }

  Tallies TallyOf(const RowSet& members) const;
  Counts Count(const Tallies& inside) const;
  Counts Count(const RowSet& members) const { return Count(TallyOf(members)); }
  // p-value of one region; for kPrompts the normal approximation over prompts that ranks regions, not for reporting.
  double PValue(const Tallies& inside) const;
  double PValue(const RowSet& members) const { return PValue(TallyOf(members)); }
  // Adjusted p-values: Benjamini-Hochberg, or for kPrompts the max-T permutation p (which controls more).
  std::vector<double> Adjusted(const std::vector<Tallies>& inside, uint64_t seed, int threads) const;
  std::vector<double> Adjusted(const std::vector<RowSet>& members, uint64_t seed, int threads) const;

  struct DesignEffects {
    double target = 1;
    double baseline = 1;
  };
  // By prompt on each side; 1 on a side with one prompt.
  DesignEffects DesignEffectsOf(const Tallies& inside) const;
  DesignEffects DesignEffectsOf(const RowSet& members) const { return DesignEffectsOf(TallyOf(members)); }

 private:
  void Decide();

  const Runs* runs_ = nullptr;
  Exchangeable exchangeable_ = Exchangeable::kNothing;
  uint64_t target_runs_ = 0, baseline_runs_ = 0;
  Comparison comparison_ = Comparison::kAsDrawn;
  std::vector<double> target_by_prompt_, baseline_by_prompt_;
  std::vector<double> target_by_stratum_, baseline_by_stratum_;  // empty where prompts are the strata
};

}  // namespace promptsweep::motifs
