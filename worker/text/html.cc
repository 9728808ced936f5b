#include "worker/text/html.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

constexpr size_t kLongestName = 32;  // characters, without the semicolon
constexpr char32_t kReplacement = 0xFFFD;
constexpr absl::string_view kLines =
#include "worker/text/html_entities.inc"
    ;
// What Windows-1252 has at 0x80 to 0x9F; HTML reads these numbers so.
constexpr char32_t kWindows[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6,  0x2030, 0x160,
                                   0x2039, 0x152,  0x8D,   0x17D,  0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
                                   0x2013, 0x2014, 0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};

const absl::flat_hash_map<std::string, std::string>& Entities() {
  static const auto& entities = *[] {
    auto* all = new absl::flat_hash_map<std::string, std::string>;
    for (absl::string_view line : absl::StrSplit(kLines, '\n', absl::SkipEmpty())) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      std::string text;
      for (size_t i = 1; i < words.size(); ++i) {
        uint32_t point = 0;
        if (absl::SimpleHexAtoi(words[i], &point)) AppendUtf8(point, text);
      }
      all->emplace(words[0], std::move(text));
    }
    return all;
  }();
  return entities;
}

void AppendNumber(uint64_t number, std::string& out) {
  if (number == 0 || (number >= 0xD800 && number <= 0xDFFF) || number > 0x10FFFF) return AppendUtf8(kReplacement, out);
  if (number >= 0x80 && number <= 0x9F) return AppendUtf8(kWindows[number - 0x80], out);
  const bool control = (number < 0x20 && number != '\t' && number != '\n' && number != '\f' && number != '\r') || number == 0x7F;
  if (control || (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE) return;
  AppendUtf8(static_cast<char32_t>(number), out);
}

// The reference at the start of `text` (which is an '&'): appends what it stands for. Returns its length, 0 where there is none.
size_t Reference(absl::string_view text, std::string& out) {
  size_t end = 1;
  if (end < text.size() && text[end] == '#') {
    ++end;
    const bool hex = end < text.size() && (text[end] == 'x' || text[end] == 'X');
    end += hex;
    const size_t digits = end;
    uint64_t number = 0;
    for (; end < text.size() && (hex ? absl::ascii_isxdigit(text[end]) : absl::ascii_isdigit(text[end])); ++end) {
      const char c = absl::ascii_tolower(text[end]);
      number = std::min<uint64_t>(number * (hex ? 16 : 10) + (c <= '9' ? c - '0' : c - 'a' + 10), 1 << 30);
    }
    if (end == digits) return 0;
    AppendNumber(number, out);
    return end + (end < text.size() && text[end] == ';');
  }
  // Ends of the characters of what may be a name.
  std::vector<size_t> ends;
  while (end < text.size() && ends.size() < kLongestName && !absl::StrContains("\t\n\f <&#;", text.substr(end, 1))) {
    ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    ends.push_back(end);
  }
  if (ends.empty()) return 0;
  if (end < text.size() && text[end] == ';') ends.push_back(end + 1);
  const auto& entities = Entities();
  // All of it, else the longest beginning of two characters or more.
  for (size_t count = ends.size(); count > 0; --count) {
    if (count < 2 && count != ends.size()) break;
    const auto it = entities.find(text.substr(1, ends[count - 1] - 1));
    if (it == entities.end()) continue;
    out += it->second;
    return ends[count - 1];
  }
  return 0;
}

}  // namespace

std::string UnescapeHtml(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t at = text.find('&');
    absl::StrAppend(&out, text.substr(0, at));
    if (at == absl::string_view::npos) break;
    text.remove_prefix(at);
    size_t length = Reference(text, out);
    if (length == 0) {
      out += '&';
      length = 1;
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace promptsweep::worker
