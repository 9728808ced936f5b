// Counts a report's motifs in every model and prompt of the sweep, also those on neither side of the comparison.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "jobs/motifs/sweep_data.h"

namespace promptsweep::motifs {

// Sets what the report and its motifs say of models and prompts (fields from 60 on). `motifs` are the report's, frozen. A motif
// is in a model where the low end of its interval is above `least`. Statuses of SweepReader. Memory: some 200 bytes per pair
// of prompt and seed up to two million runs; above that models are compared within prompts.
[[nodiscard]] absl::Status CountEverywhere(v1::StoreService::StubInterface& store, const RunSelection& selection,
                                           std::vector<Frozen> motifs, double least, int threads, v1::MotifReport& report);

}  // namespace promptsweep::motifs
