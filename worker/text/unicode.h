// Code points of text, as the tokenizers see them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Well-formed UTF-8: what is not becomes U+FFFD.
std::u32string CodePoints(absl::string_view utf8);
void AppendUtf8(char32_t c, std::string& out);

// Each code point in lower case by itself, as Rust's char::to_lowercase and Python's str.lower on one character: no rule looks at
// the neighbours, and U+0130 becomes two.
std::u32string LowerEach(const std::u32string& text);

// Python's str.isspace for one character, which is what its \s matches.
bool IsPythonSpace(char32_t c);

}  // namespace promptsweep::worker
