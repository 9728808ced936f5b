// One look at an adaptive sweep: frozen motifs are counted on the runs made since, new ones are frozen, the rule is applied.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "jobs/motifs/sweep_data.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Adds the look to `report`, which holds the motifs found in `data`: `report.stop`. `previous` is the state after the look
// before, or empty. A look at the same cells as the last one replaces it, with the same result. Confirmed motifs are frozen, and
// descriptive ones where there is no baseline, unless one frozen before has its centre inside their region or they theirs.
// INVALID_ARGUMENT where the sweep has no stop rule. RESOURCE_EXHAUSTED: the rule asks for novelty and `data` is a sample.
// Otherwise as ForEachBlock. The same bits for any number of threads.
[[nodiscard]] absl::Status TakeLook(SweepReader& reader, const SweepData& data, const v1::StopState& previous, int threads,
                                    v1::MotifReport& report);

}  // namespace promptsweep::motifs
