// What a motif report says of runs not made, in words: how many more would tell, what may be missing, how various the pictures
// are.
#pragma once

#include <string>
#include <vector>

#include "cli/output.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::cli {

// One sentence each, ending in a full stop, not escaped: what may be unseen, novelty, diversity. Empty for reports that lack
// them.
[[nodiscard]] std::vector<std::string> OutlookInWords(const v1::MotifReport& report);

// Target runs that each motif asks for; empty where no motif says.
[[nodiscard]] Table RunsNeededTable(const v1::MotifReport& report);

// Both for a terminal, beginning and ending with a line break, or empty.
[[nodiscard]] std::string OutlookText(const v1::MotifReport& report);

// Both as a section of the page, escaped, or empty.
[[nodiscard]] std::string OutlookSection(const v1::MotifReport& report);

}  // namespace promptsweep::cli
