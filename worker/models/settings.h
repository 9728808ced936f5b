// A cell's generator settings as numbers: the cell's own, else the model card's, else the architecture's.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::worker {

// Every setting of sweep::SettingsOf(architecture), by name; of a choice, its place among the choices. Whole numbers are at most
// 2^53, hence exact. INVALID_ARGUMENT for a setting that the architecture does not have or that is out of its range.
[[nodiscard]] absl::StatusOr<std::map<std::string, double>> ResolveSettings(const v1::Cell& cell, const std::string& architecture,
                                                                            const std::map<std::string, v1::Value>& defaults);

}  // namespace promptsweep::worker
