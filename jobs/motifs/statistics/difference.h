// How far one motif's share differs between two sides, in pairs of runs or not. Pure functions; the difference is first less
// second.
#pragma once

#include <cstdint>

#include "jobs/motifs/statistics/across.h"
#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {

// Pairs of runs, one on each side.
struct Pairs {
  uint64_t both = 0;
  uint64_t first_only = 0;
  uint64_t second_only = 0;
  uint64_t neither = 0;
};

struct Difference {
  double value = 0;
  Interval ci{-1, 1};  // 95 %; [-1, 1] where a side has no runs
};

// Newcombe's hybrid of two score intervals (1998, method 10). Each side's runs are divided by its design effect (>= 1).
[[nodiscard]] Difference UnpairedDifference(const Share& first, const Share& second, double first_deff = 1,
                                            double second_deff = 1);

// Wald's interval with 1/2 added to each of the four counts (Agresti and Min 2005).
[[nodiscard]] Difference PairedDifference(const Pairs& pairs);

// P(X >= first_only), X binomial with one half of first_only + second_only: exact one-sided test of McNemar, "more in the
// first". 1 where no pair differs.
[[nodiscard]] double McNemarGreater(const Pairs& pairs);

// Twice the smaller of the two one-sided ones, at most 1.
[[nodiscard]] double McNemar(const Pairs& pairs);

}  // namespace promptsweep::motifs
