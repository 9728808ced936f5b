// What a report says beyond its motifs: how much more there may be, how varied the runs are, how many more runs would tell.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "jobs/motifs/sweep_data.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Fills in Motif.sequence and runs_needed, and novelty, diversity, coverage and unseen_below of a report whose motifs, runs and
// candidates stand. `members`: target rows of each motif, in the order of the report. The same bits for any number of threads.
[[nodiscard]] absl::Status AddOutlook(const SweepData& data, const std::vector<RowSet>& members, uint64_t seed, int threads,
                                      v1::MotifReport& report);

}  // namespace promptsweep::motifs
