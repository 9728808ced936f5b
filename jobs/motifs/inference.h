// Are a region's runs more often target than chance allows? The null hypothesis is that labels could be exchanged; between
// what, depends on how the two sides were drawn.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/motifs/matrix.h"
#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

// What is known of each run beside its embedding. One entry per row.
struct Runs {
  std::vector<uint64_t> ordinal;   // ascending
  std::vector<uint8_t> is_target;  // else baseline
  std::vector<uint32_t> prompt;    // dense ids from 0, the same on both sides
  std::vector<uint8_t> fold;       // 0..kFolds-1, by hash of (prompt, seed)
  size_t size() const { return ordinal.size(); }
};

inline constexpr int kFolds = 5;

// What may be exchanged under the null hypothesis.
enum class Exchangeable {
  // No baseline: nothing.
  kNothing,
  // The sides share their prompts: runs of one prompt. Fisher's test within prompts.
  kRunsWithinPrompt,
  // Each side has at least 8 prompts of its own: whole prompts. Permutation of prompts, largest statistic over all regions.
  kPrompts,
  // Otherwise (a blank prompt against many prompts): runs. Fisher's test; baseline prompts still widen the lift's interval.
  kRuns,
};

// Tests regions given as member lists against one fixed design. Immutable; thread-safe.
class Design {
 public:
  explicit Design(const Runs& runs);

  Exchangeable exchangeable() const { return exchangeable_; }
  // The null hypothesis in words, for the report.
  std::string NullInWords() const;

  uint64_t target_runs() const { return target_runs_; }
  uint64_t baseline_runs() const { return baseline_runs_; }

  Counts Count(const RowSet& members) const;
  // p-value of one region; for kPrompts the normal approximation over prompts that ranks regions, not for reporting.
  double PValue(const RowSet& members) const;
  // Adjusted p-values: Benjamini-Hochberg, or for kPrompts the max-T permutation p (which controls more).
  std::vector<double> Adjusted(const std::vector<RowSet>& members, uint64_t seed, int threads) const;

  struct DesignEffects {
    double target = 1;
    double baseline = 1;
  };
  // By prompt on each side; 1 on a side with one prompt.
  DesignEffects DesignEffectsOf(const RowSet& members) const;

 private:
  struct PromptCounts {
    std::vector<double> target_in, baseline_in;
  };
  PromptCounts CountByPrompt(const RowSet& members) const;

  const Runs& runs_;
  Exchangeable exchangeable_;
  uint64_t target_runs_ = 0, baseline_runs_ = 0;
  std::vector<double> target_by_prompt_, baseline_by_prompt_;
};

}  // namespace promptsweep::motifs
