// What a comparison of two groups of runs says, for people and as rows.
#pragma once

#include <string>

#include "cli/json.h"
#include "cli/output.h"

namespace promptsweep::cli {

// The JSON of `promptsweep-motifs diff` in words: both sides, a line per motif, the notes. Ends in a newline.
[[nodiscard]] std::string DiffText(const Json& diff);

// A row per motif, for programs.
[[nodiscard]] Table DiffRows(const Json& diff);

}  // namespace promptsweep::cli
