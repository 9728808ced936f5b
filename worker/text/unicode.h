// Properties of code points, as the tokenizers see them.
#pragma once

#include <vector>

namespace promptsweep::worker {

// Each code point in lower case by itself, as Rust's char::to_lowercase and Python's str.lower on one character: no rule looks at
// the neighbours, and U+0130 becomes two.
std::vector<char32_t> LowerEach(const std::vector<char32_t>& text);

// Python's str.isspace for one character, which is what its \s matches.
bool IsPythonSpace(char32_t c);

}  // namespace promptsweep::worker
