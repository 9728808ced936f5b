#include "cli/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace promptsweep::cli {
namespace {

// Reads one code point at `at` and moves past it; -1 and one byte further for a malformed sequence.
int32_t NextCodePoint(absl::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return ++at, first;
  const int length = first >= 0xf0 && first < 0xf5   ? 4
                     : first >= 0xe0 && first < 0xf0 ? 3
                     : first >= 0xc2 && first < 0xe0 ? 2
                                                     : 0;
  if (length == 0 || at + length > text.size()) return ++at, -1;
  int32_t point = first & (0xff >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return ++at, -1;
    point = point << 6 | (byte(at + i) & 0x3f);
  }
  static constexpr std::array<int32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  if (point < kLeast[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return ++at, -1;
  at += length;
  return point;
}

// Control characters, and the marks that reorder or hide what follows them.
bool IsUnsafe(int32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x200e && point <= 0x200f) ||
         (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

int ColumnsOf(int32_t point) {
  if ((point >= 0x300 && point < 0x370) || point == 0x200b || point == 0x200d || (point >= 0xfe00 && point < 0xfe10)) return 0;
  const bool wide = (point >= 0x1100 && point < 0x1160) || (point >= 0x2e80 && point < 0xa4d0) ||
                    (point >= 0xac00 && point < 0xd7a4) || (point >= 0xf900 && point < 0xfb00) ||
                    (point >= 0xfe30 && point < 0xfe70) || (point >= 0xff00 && point < 0xff61) ||
                    (point >= 0x1f300 && point < 0x1faff) || (point >= 0x20000 && point < 0x40000);
  return wide ? 2 : 1;
}

std::string WithDecimals(double value, int decimals) { return absl::StrFormat("%.*f", decimals, value); }

// Decimals that give a percentage two significant digits.
int DecimalsFor(double percent) {
  if (percent <= 0 || percent >= 9.95) return 0;
  if (percent >= 0.995) return 1;
  if (percent >= 0.0995) return 2;
  return 3;
}

std::string PluralOfWord(const std::string& word) {
  static constexpr std::pair<absl::string_view, absl::string_view> kIrregular[] = {
      {"child", "children"}, {"person", "people"}, {"foot", "feet"},        {"tooth", "teeth"}, {"mouse", "mice"},
      {"goose", "geese"},    {"knife", "knives"},  {"leaf", "leaves"},      {"wolf", "wolves"}, {"fish", "fish"},
      {"sheep", "sheep"},    {"deer", "deer"},     {"men", "men"},          {"women", "women"}, {"text", "text"},
      {"food", "food"},      {"hair", "hair"},     {"clothing", "clothing"}};
  const std::string lower = absl::AsciiStrToLower(word);
  for (const auto& [one, many] : kIrregular) {
    if (lower == one || lower == many) return std::string(many);
  }
  static constexpr absl::string_view kRegularMan[] = {"human", "german", "roman", "shaman", "talisman", "ottoman", "caiman"};
  if (absl::EndsWith(lower, "man") && std::find(std::begin(kRegularMan), std::end(kRegularMan), lower) == std::end(kRegularMan)) {
    return absl::StrCat(word.substr(0, word.size() - 2), "en");
  }
  const size_t n = lower.size();
  if (n == 0 || static_cast<unsigned char>(lower.back()) >= 0x80) return word;
  if (absl::EndsWith(lower, "ss") || absl::EndsWith(lower, "x") || absl::EndsWith(lower, "z") || absl::EndsWith(lower, "ch") ||
      absl::EndsWith(lower, "sh")) {
    return word + "es";
  }
  if (lower.back() == 's') return word;
  if (n > 1 && lower.back() == 'y' && !absl::StrContains("aeiou", lower.substr(n - 2, 1))) return word.substr(0, n - 1) + "ies";
  return word + "s";
}

}  // namespace

std::string OneLine(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const int32_t point = NextCodePoint(text, at);
    if (point == '\n' || point == '\r' || point == '\t') {
      out += ' ';
    } else if (point < 0 || IsUnsafe(point)) {
      for (size_t i = begin; i < at; ++i) absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[i]));
    } else {
      out.append(text.data() + begin, at - begin);
    }
  }
  return out;
}

bool IsUtf8(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (NextCodePoint(text, at) < 0) return false;
  }
  return true;
}

size_t DisplayWidth(absl::string_view text) {
  size_t columns = 0;
  for (size_t at = 0; at < text.size();) columns += ColumnsOf(NextCodePoint(text, at));
  return columns;
}

std::string Truncate(absl::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  size_t columns = 0, at = 0;
  while (at < text.size()) {
    size_t next = at;
    const int step = ColumnsOf(NextCodePoint(text, next));
    if (columns + step + 1 > width) break;
    columns += step;
    at = next;
  }
  return absl::StrCat(text.substr(0, at), "…");
}

std::string Percent(double share) {
  const double percent = 100 * share;
  return absl::StrCat(WithDecimals(percent, DecimalsFor(percent)), " %");
}

std::string PercentRange(double low, double high) {
  low *= 100, high *= 100;
  int decimals = DecimalsFor(high);
  while (decimals < 3 && WithDecimals(low, decimals) == WithDecimals(high, decimals) && low != high) ++decimals;
  return absl::StrCat(WithDecimals(low, decimals), "–", WithDecimals(high, decimals), " %");
}

std::string Times(double ratio) {
  if (ratio >= 1000 && ratio < 1e15) return absl::StrCat(Grouped(static_cast<uint64_t>(ratio + 0.5)), "x");
  return absl::StrCat(WithDecimals(ratio, ratio < 9.95 ? 1 : 0), "x");
}

std::string Bytes(uint64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  static constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  int unit = 0;
  while (value >= 999.5 && unit < 5) value /= 1000, ++unit;
  return absl::StrFormat("%.*f %s", value < 9.95 ? 1 : 0, value, kUnits[unit]);
}

std::string Grouped(uint64_t number) {
  const std::string digits = absl::StrCat(number);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string DurationWords(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "?";
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (seconds < 60) return absl::StrCat(seconds, " s");
  if (seconds < 3600) return absl::StrCat(seconds / 60, " min ", seconds % 60, " s");
  if (seconds < 48 * 3600) return absl::StrCat(seconds / 3600, " h ", seconds / 60 % 60, " min");
  return absl::StrCat(seconds / 86400, " d ", seconds / 3600 % 24, " h");
}

std::string WallTime(uint64_t millis) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(static_cast<int64_t>(millis)), absl::UTCTimeZone());
}

std::string Plural(absl::string_view noun) {
  noun = absl::StripAsciiWhitespace(noun);
  for (absl::string_view article : {"a ", "an ", "the "}) {
    if (absl::StartsWithIgnoreCase(noun, article)) {
      noun.remove_prefix(article.size());
      break;
    }
  }
  size_t head_end = noun.size();
  for (absl::string_view preposition :
       {" in ", " of ", " with ", " on ", " at ", " from ", " for ", " and ", " under ", " by "}) {
    const size_t at = noun.find(preposition);
    if (at != absl::string_view::npos && at > 0) head_end = std::min(head_end, at);
  }
  const size_t space = noun.substr(0, head_end).rfind(' ');
  const size_t head = space == absl::string_view::npos ? 0 : space + 1;
  return absl::StrCat(noun.substr(0, head), PluralOfWord(std::string(noun.substr(head, head_end - head))), noun.substr(head_end));
}

std::string ShortDouble(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

std::string StateName(v1::SweepState state) {
  const std::string& name = v1::SweepState_Name(state);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "SWEEP_STATE_"));
}

bool HasEnded(v1::SweepState state) {
  return state == v1::SWEEP_STATE_DONE || state == v1::SWEEP_STATE_DONE_WITH_FAILURES || state == v1::SWEEP_STATE_CANCELLED;
}

}  // namespace promptsweep::cli
