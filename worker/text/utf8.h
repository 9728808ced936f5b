// Well-formed UTF-8 as code points and back.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// A byte that belongs to no character becomes U+FFFD.
std::vector<char32_t> DecodeUtf8(absl::string_view text);
void AppendUtf8(char32_t c, std::string& out);

}  // namespace promptsweep::worker
