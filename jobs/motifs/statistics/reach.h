// How many unrelated prompts end in the same motif: is it a model's default picture? Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "jobs/motifs/statistics/across.h"
#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {

struct Reach {
  uint64_t prompts = 0;  // that have runs
  uint64_t reached = 0;  // with at least one run inside
  double share = 0;      // reached / prompts
  Interval share_ci;     // Wilson over prompts
  // Entropy of the prompts' rates scaled to sum 1, over log(prompts): 1 where every prompt reaches the motif alike, 0 where one
  // does or there is only one. Jackknife over prompts.
  double entropy = 0;
  Interval entropy_ci;
  // Share of prompts that would be reached if runs were inside by the overall share p whatever their prompt: the mean of
  // 1 - (1 - p)^runs.
  double expected = 0;
  // share - expected: negative where few prompts hold the motif. The interval is that of `share`; p is taken as it was counted.
  double excess = 0;
  Interval excess_ci;
};

// 95 % intervals; with fewer than two prompts they say nothing: [0, 1], of the excess [-1, 1].
[[nodiscard]] Reach ReachOf(const std::vector<Share>& by_prompt);

// Indices of the prompts with the highest lower ends of Wilson's interval, best first, of those reached.
[[nodiscard]] std::vector<size_t> TopPrompts(const std::vector<Share>& by_prompt, size_t most);

}  // namespace promptsweep::motifs
