// The part of the report page that shows what was found: the table, a card for each motif, pictures to compare with.
#pragma once

#include <string>

#include "cli/report/page.h"

namespace promptsweep::cli {

// Keeps a number and its percent sign, and both ends of a range, on one line.
[[nodiscard]] std::string Bind(const std::string& html);

// A row per motif with its interval drawn; empty where there is no motif.
[[nodiscard]] std::string SummaryTable(const v1::MotifReport& report);

// A card per motif with its pictures, behind buttons where `veil` is set, or why there is none.
[[nodiscard]] std::string MotifCards(const ReportInput& input, bool veil);

// input.baseline as one sheet; empty where there is none.
[[nodiscard]] std::string ComparisonSheet(const ReportInput& input, bool veil);

}  // namespace promptsweep::cli
