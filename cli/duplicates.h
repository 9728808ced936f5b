// Results that arrived again with other content, as the store kept them.
#pragma once

#include <string>
#include <vector>

#include "cli/json.h"
#include "cli/output.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::cli {

// True where both were made by the same kind of device with the same program, libraries and batch shape: their content should
// have been equal. Otherwise they are variants.
[[nodiscard]] bool IsNondeterminism(const v1::DuplicateRecord& duplicate);

// "3 results differed from the first (nondeterminism)", and a line for variants; nothing where there are none. Each line ends.
[[nodiscard]] std::string DuplicateWords(const std::vector<v1::DuplicateRecord>& duplicates);

// A row for each.
[[nodiscard]] Table DuplicateTable(const std::vector<v1::DuplicateRecord>& duplicates);
[[nodiscard]] Json DuplicateJson(const std::vector<v1::DuplicateRecord>& duplicates);

}  // namespace promptsweep::cli
