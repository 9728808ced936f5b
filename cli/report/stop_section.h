// An adaptive sweep's looks, as a section of the report page.
#pragma once

#include <string>

#include "cli/report/page.h"

namespace promptsweep::cli {

// What the sweep's stop rule asked, what each look found, and what of each motif is decided; empty where no look was taken.
[[nodiscard]] std::string StopSection(const ReportInput& input);

}  // namespace promptsweep::cli
