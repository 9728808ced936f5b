// Prompt templates: "a {red|blue} {{adjective}} __animal__" and the texts it stands for, in order.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::sweep {

// Expands a template, the leftmost choice changing slowest:
//   {a|b|}    alternatives, nestable, possibly empty
//   {{name}}  a variable; where it stands twice, both take the same value
//   __name__  a line of a word list; each occurrence on its own
//   \         keeps the next of { } | _ \ as it is
// `values(name, wildcard)` gives the values of a variable or word list, or says why there are none; they stay valid meanwhile.
// `emit` takes each text; its error ends the expansion and is returned, which is how a caller bounds it. INVALID_ARGUMENT for a
// template that cannot be read.
[[nodiscard]] absl::Status ExpandTemplate(
    absl::string_view text,
    absl::FunctionRef<absl::StatusOr<const std::vector<std::string>*>(const std::string& name, bool wildcard)> values,
    absl::FunctionRef<absl::Status(const std::string& text)> emit);

// True for text that ExpandTemplate would not take as it is: it has alternatives, a variable or a word list.
[[nodiscard]] bool LooksLikeTemplate(absl::string_view text);

}  // namespace promptsweep::sweep
