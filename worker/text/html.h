// HTML's character references, as Python's html.unescape reads them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Replaces &name; &#10; &#xA; (HTML 5's names, also those it knows without a semicolon) in well-formed UTF-8, once: what a
// replacement spells is not read again. Thread-safe; linear in the text.
std::string UnescapeHtml(absl::string_view text);

}  // namespace promptsweep::worker
