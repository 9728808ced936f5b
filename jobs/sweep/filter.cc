#include "jobs/sweep/filter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::sweep {
namespace {

// Length of "identifier=" at the start of `text`, after spaces; 0 if there is none.
size_t FilterStart(absl::string_view text) {
  size_t at = 0;
  while (at < text.size() && text[at] == ' ') ++at;
  size_t begin = at;
  while (at < text.size() && (absl::ascii_isalnum(text[at]) || text[at] == '_')) ++at;
  return at > begin && at < text.size() && text[at] == '=' ? at + 1 : 0;
}

// True where a backslash at `i` is there for the character after it.
bool Escapes(absl::string_view text, size_t i) {
  return text[i] == '\\' && i + 1 < text.size() && absl::string_view(",|\\").find(text[i + 1]) != absl::string_view::npos;
}

// Splits at unescaped `separator`s; with `only_before_filter`, only at those that a filter follows.
std::vector<absl::string_view> Split(absl::string_view text, char separator, bool only_before_filter) {
  std::vector<absl::string_view> pieces;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (Escapes(text, i)) {
      ++i;
    } else if (text[i] == separator && (!only_before_filter || FilterStart(text.substr(i + 1)) > 0)) {
      pieces.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

std::string Unescape(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (Escapes(text, i)) ++i;
    plain += text[i];
  }
  return plain;
}

std::optional<std::pair<int64_t, int64_t>> ParseRange(const std::string& text) {
  size_t dots = text.find("..");
  int64_t first, last;
  if (dots == std::string::npos || !absl::SimpleAtoi(text.substr(0, dots), &first) ||
      !absl::SimpleAtoi(text.substr(dots + 2), &last)) {
    return std::nullopt;
  }
  return std::pair(first, last);
}

absl::Status AddValue(const std::string& axis, const std::string& text, AxisFilter& filter) {
  v1::Value value;
  if (axis == "prompt") {
    if (text.empty()) {
      filter.any_blank = true;
      return absl::OkStatus();
    }
    PS_ASSIGN_OR_RETURN(*value.mutable_prompt_value(), ParsePromptText(text));
    filter.values.push_back(CanonicalValue(value));
    return absl::OkStatus();
  }
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat("filter ", axis, "= has no value; only prompt= may be blank"));
  // As text too: an imported column may hold numbers as text.
  value.set_string_value(text);
  filter.values.push_back(CanonicalValue(value));
  if (axis == "model") return absl::OkStatus();
  int64_t whole;
  double number;
  if (auto range = ParseRange(text)) {
    if (range->second < range->first)
      return absl::InvalidArgumentError(absl::StrCat("filter ", axis, ": range ", text, " is empty"));
    filter.ranges.push_back(*range);
    return absl::OkStatus();
  }
  if (absl::SimpleAtoi(text, &whole)) {
    value.set_int_value(whole);
  } else if (absl::SimpleAtod(text, &number) && std::isfinite(number)) {
    value.set_double_value(number);
  } else if (text == "true" || text == "false") {
    value.set_bool_value(text == "true");
  } else if (axis == "seed") {
    return absl::InvalidArgumentError(absl::StrCat("filter seed=", text, ": not a number or a range such as 0..999"));
  }
  filter.values.push_back(CanonicalValue(value));
  return absl::OkStatus();
}

bool MatchesValue(const v1::Value& value, const AxisFilter& filter) {
  if (value.prompt_value().has_blank() && filter.any_blank) return true;
  if (std::binary_search(filter.values.begin(), filter.values.end(), CanonicalValue(value))) return true;
  double number = value.has_int_value() ? 0 : value.has_double_value() ? value.double_value() : std::nan("");
  for (const auto& [first, last] : filter.ranges) {
    if (value.has_int_value() ? value.int_value() >= first && value.int_value() <= last
                              : number >= static_cast<double>(first) && number <= static_cast<double>(last)) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<CellFilter> ParseFilters(absl::string_view text, const std::vector<std::string>& axes) {
  CellFilter filter;
  if (absl::StripAsciiWhitespace(text).empty()) return filter;
  for (absl::string_view piece : Split(text, ',', true)) {
    const size_t start = FilterStart(piece);
    if (start == 0) return absl::InvalidArgumentError(absl::StrCat("filter ", Quoted(piece), " is not axis=value"));
    const std::string axis(absl::StripAsciiWhitespace(piece.substr(0, start - 1)));
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown axis ", Quoted(axis), " in a filter", Hint(axis, axes)));
    }
    for (absl::string_view alternative : Split(piece.substr(start), '|', false)) {
      const std::string value = Unescape(alternative);
      PS_RETURN_IF_ERROR(AddValue(axis, value, filter.axes[axis]));
      filter.axes[axis].shown.push_back(value.empty() ? "blank" : value);
    }
  }
  for (auto& [axis, values] : filter.axes) {
    std::sort(values.values.begin(), values.values.end());
    values.values.erase(std::unique(values.values.begin(), values.values.end()), values.values.end());
  }
  return filter;
}

std::vector<std::string> AxisNames(const v1::SweepManifest& manifest) {
  std::set<std::string> names = {"model", "prompt", "seed"};
  ForEachAxis(manifest.spec().cells(), [&](const v1::Axis& axis) { names.insert(axis.name()); });
  for (const v1::Setting& setting : manifest.spec().defaults()) names.insert(setting.name());
  return {names.begin(), names.end()};
}

bool Matches(const v1::Cell& cell, const CellFilter& filter) {
  for (const auto& [axis, values] : filter.axes) {
    v1::Value value;
    if (axis == "model") {
      value.set_string_value(cell.model());
    } else if (axis == "prompt") {
      *value.mutable_prompt_value() = cell.prompt();
    } else if (axis == "seed") {
      value.set_int_value(cell.seed());
    } else {
      auto setting =
          std::find_if(cell.settings().begin(), cell.settings().end(), [&](const auto& s) { return s.name() == axis; });
      if (setting == cell.settings().end()) return false;
      value = setting->value();
    }
    if (!MatchesValue(value, values)) return false;
  }
  return true;
}

std::string EscapeFilterValue(absl::string_view value) {
  return absl::StrReplaceAll(value, {{"\\", "\\\\"}, {",", "\\,"}, {"|", "\\|"}});
}

std::string FilterText(const CellFilter& filter) {
  std::vector<std::string> parts;
  for (const auto& [axis, values] : filter.axes) {
    parts.push_back(absl::StrCat(axis, " ", absl::StrJoin(values.shown, " or ")));
  }
  return parts.empty() ? "all cells" : absl::StrJoin(parts, ", ");
}

}  // namespace promptsweep::sweep
