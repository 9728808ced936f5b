#include "jobs/sweep/prompt_text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

constexpr absl::string_view kBlankStart = "<blank:";
constexpr absl::string_view kAbsent = "<absent>";

// Unicode's White_Space beyond ASCII, and default-ignorable characters that people paste without seeing them. Ends included.
constexpr std::pair<uint32_t, uint32_t> kInvisible[] = {{0x85, 0x85},     {0xA0, 0xA0},     {0xAD, 0xAD},     {0x1680, 0x1680},
                                                        {0x180E, 0x180E}, {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x2064},
                                                        {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

// The character at the start of well-formed UTF-8, which loses it.
uint32_t TakeCharacter(absl::string_view& text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t code = length == 1 ? lead : lead & (0x7F >> length);
  for (size_t i = 1; i < length && i < text.size(); ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  text.remove_prefix(std::min(length, text.size()));
  return code;
}

// True for text that, behind any backslashes, has the form of a marker.
bool NeedsEscape(absl::string_view text) {
  while (absl::ConsumePrefix(&text, "\\")) {
  }
  return absl::StartsWith(text, kBlankStart) || text == kAbsent;
}

}  // namespace

bool LooksBlank(absl::string_view text) {
  while (!text.empty()) {
    const uint32_t code = TakeCharacter(text);
    if (code <= 0x20) continue;
    if (std::none_of(std::begin(kInvisible), std::end(kInvisible),
                     [&](const auto& range) { return code >= range.first && code <= range.second; })) {
      return false;
    }
  }
  return true;
}

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
