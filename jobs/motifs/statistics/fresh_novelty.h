// How many of the latest runs are unlike everything before them.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Of the target rows with an ordinal of at least `since`, those without any target row before `since` of a cosine of at least
// `alike`. The same for any number of threads.
struct FreshNovelty {
  RowSet fresh;                // the former
  std::vector<uint8_t> novel;  // of each whether it is one of the latter
};
[[nodiscard]] FreshNovelty CountFreshNovelty(const Matrix& x, const Runs& runs, uint64_t since, double alike, int threads);

}  // namespace promptsweep::motifs
