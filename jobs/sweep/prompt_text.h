// One text form for prompts, typed blanks included: tables, CSV columns, logs.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// Text as it is; blanks as <blank:empty>, <blank:whitespace>, <blank:padding>, <blank:null>; an absent prompt as <absent>. Text
// that looks like one of these gets a backslash in front, so that no two prompts share a form. Never empty.
[[nodiscard]] std::string PromptText(const v1::Prompt& prompt);

// The inverse. INVALID_ARGUMENT for an empty string, which would be an absent prompt, and for an unknown kind of blank.
[[nodiscard]] absl::StatusOr<v1::Prompt> ParsePromptText(absl::string_view text);

// True for text of nothing but white space and characters that show nothing (U+00A0, U+200B, U+3000, ...): to a reader it is a
// blank, to a model it is not.
[[nodiscard]] bool LooksBlank(absl::string_view text);

// "empty", "whitespace", "padding", "null"; empty for BLANK_KIND_UNSPECIFIED.
[[nodiscard]] std::string BlankName(v1::BlankKind kind);
// BLANK_KIND_UNSPECIFIED for an unknown name.
[[nodiscard]] v1::BlankKind BlankOfName(absl::string_view name);

// A value for display: numbers in shortest form, prompts as PromptText.
[[nodiscard]] std::string ValueText(const v1::Value& value);

}  // namespace promptsweep::sweep
