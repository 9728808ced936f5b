// An adaptive sweep's looks, as a section of the report page.
#pragma once

#include <string>

#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::cli {

// What the sweep's stop rule asked, what each look found, and what of each motif is decided; empty where it has no rule.
[[nodiscard]] std::string StopSection(const v1::MotifReport& report);

}  // namespace promptsweep::cli
