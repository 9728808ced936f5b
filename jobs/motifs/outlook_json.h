// The parts of a report that outlook.h and look.h add, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// "sequence" and "runs_needed" of a motif, where it has them. Infinite and unreachable numbers are null.
void AddOutlookJson(const v1::Motif& motif, nlohmann::ordered_json& json);

// "novelty", "target_diversity", "baseline_diversity", "baseline_coverage", "unseen_below" and "stop" of a report; null where absent.
void AddOutlookJson(const v1::MotifReport& report, nlohmann::ordered_json& json);

}  // namespace promptsweep::motifs
