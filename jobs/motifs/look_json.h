// What a sweep's stop rule has led to, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// The rule, the frozen motifs with their sequences, and all looks. What the rule does not ask and what is infinite is null.
[[nodiscard]] nlohmann::ordered_json StopJson(const v1::StopState& stop);

}  // namespace promptsweep::motifs
