// What a report says beyond its motifs: how much more there may be, how various the runs are, how many more runs would tell.
#pragma once

#include <vector>

#include "jobs/motifs/miner.h"
#include "jobs/motifs/sweep_data.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Diversity takes the cube of the dimensions; not beyond this many.
inline constexpr int64_t kMostDiversityDim = 2048;

// Fills in Motif.sequence and runs_needed, and novelty, diversity and unseen_below of a report whose motifs, runs and candidates
// stand. `findings`: those of the report, in its order. `counts`: theirs in all runs, where `data` is a sample; else null. The
// same bits for any number of threads.
void AddOutlook(const SweepData& data, const std::vector<Finding>& findings, const FrozenCounts* counts,
                const MineOptions& options, v1::MotifReport& report);

}  // namespace promptsweep::motifs
