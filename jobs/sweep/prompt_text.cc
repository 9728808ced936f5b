#include "jobs/sweep/prompt_text.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

constexpr absl::string_view kBlankStart = "<blank:";
constexpr absl::string_view kAbsent = "<absent>";

// True for text that, behind any backslashes, has the form of a marker.
bool NeedsEscape(absl::string_view text) {
  while (absl::ConsumePrefix(&text, "\\")) {
  }
  return absl::StartsWith(text, kBlankStart) || text == kAbsent;
}

}  // namespace

std::string BlankName(v1::BlankKind kind) {
  switch (kind) {
    case v1::BLANK_KIND_EMPTY:
      return "empty";
    case v1::BLANK_KIND_WHITESPACE:
      return "whitespace";
    case v1::BLANK_KIND_PADDING:
      return "padding";
    case v1::BLANK_KIND_NULL:
      return "null";
    default:
      return "";
  }
}

v1::BlankKind BlankOfName(absl::string_view name) {
  for (v1::BlankKind kind : {v1::BLANK_KIND_EMPTY, v1::BLANK_KIND_WHITESPACE, v1::BLANK_KIND_PADDING, v1::BLANK_KIND_NULL}) {
    if (name == BlankName(kind)) return kind;
  }
  return v1::BLANK_KIND_UNSPECIFIED;
}

std::string PromptText(const v1::Prompt& prompt) {
  if (prompt.has_blank() && prompt.blank() != v1::BLANK_KIND_UNSPECIFIED)
    return absl::StrCat(kBlankStart, BlankName(prompt.blank()), ">");
  if (!prompt.has_text() || prompt.text().empty()) return std::string(kAbsent);
  return absl::StrCat(NeedsEscape(prompt.text()) ? "\\" : "", prompt.text());
}

absl::StatusOr<v1::Prompt> ParsePromptText(absl::string_view text) {
  v1::Prompt prompt;
  if (text.empty() || text == kAbsent)
    return absl::InvalidArgumentError("an absent prompt; a blank one is written <blank:empty>");
  if (!IsUtf8Text(text)) return absl::InvalidArgumentError("a prompt that is not UTF-8");
  if (absl::ConsumePrefix(&text, kBlankStart)) {
    v1::BlankKind kind = absl::ConsumeSuffix(&text, ">") ? BlankOfName(text) : v1::BLANK_KIND_UNSPECIFIED;
    if (kind == v1::BLANK_KIND_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown blank ", Quoted(text), Hint(text, {"empty", "whitespace", "padding", "null"})));
    }
    prompt.set_blank(kind);
    return prompt;
  }
  if (NeedsEscape(text)) text.remove_prefix(1);
  prompt.set_text(std::string(text));
  return prompt;
}

std::string ValueText(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kIntValue:
      return absl::StrCat(value.int_value());
    case v1::Value::kDoubleValue:
      return NumberText(value.double_value());
    case v1::Value::kStringValue:
      return value.string_value();
    case v1::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    case v1::Value::kPromptValue:
      return PromptText(value.prompt_value());
    case v1::Value::KIND_NOT_SET:
      return "";
  }
  return "";
}

}  // namespace promptsweep::sweep
