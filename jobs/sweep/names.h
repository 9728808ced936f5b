// Names people type: which are allowed, and which one they probably meant.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep::sweep {

// [a-z][a-z0-9_]{0,63}: axes, settings, variables.
[[nodiscard]] bool IsIdentifier(absl::string_view name);

// [a-z0-9][a-z0-9._-]{0,63}: sweeps and models.
[[nodiscard]] bool IsName(absl::string_view name);

// True if `bytes` is well-formed UTF-8 without NUL. Else *bad_offset, where given, is where it stops being so.
[[nodiscard]] bool IsUtf8Text(absl::string_view bytes, size_t* bad_offset = nullptr);

// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`; optimal string alignment.
[[nodiscard]] size_t EditDistance(absl::string_view a, absl::string_view b);

// The candidate fewest edits away, if that is near enough to be a slip; else empty. Ties: the first.
[[nodiscard]] std::string Nearest(absl::string_view name, const std::vector<std::string>& candidates);

// `; did you mean "x"?`, or `; known: a, b, c` where nothing is near, for the end of a message.
[[nodiscard]] std::string Hint(absl::string_view name, const std::vector<std::string>& candidates);

// `text` in double quotes, shortened to about 60 bytes, control characters escaped: safe in a one-line message.
[[nodiscard]] std::string Quoted(absl::string_view text);

// Shortest text that reads back as the same number.
[[nodiscard]] std::string NumberText(double value);

}  // namespace promptsweep::sweep
