// What a report says of models and prompts, for readers.
#pragma once

#include <string>

#include "cli/output.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::cli {

// One row per motif and model, shares in percent with intervals; empty where motifs were counted in one model.
[[nodiscard]] Table ModelTable(const v1::MotifReport& report);

// Per motif one line that says in which prompts it ends up, of the model where most do; without markup. Empty where no model was
// asked two prompts that are not blank.
[[nodiscard]] std::string ReachLines(const v1::MotifReport& report);

// Both as a section of the HTML page; empty where both are.
[[nodiscard]] std::string ModelSection(const v1::MotifReport& report);

}  // namespace promptsweep::cli
