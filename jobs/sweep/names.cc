#include "jobs/sweep/names.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace promptsweep::sweep {
namespace {

constexpr size_t kMaxName = 64;

bool IsLowerOrDigit(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

// Bytes of the well-formed character at the start of `s` (Unicode 15, table 3-7); 0 if there is none.
size_t CharacterLength(absl::string_view s) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < s.size() && byte(i) >= low && byte(i) <= high;
  };
  unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    return continues(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    return continues(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool IsIdentifier(absl::string_view name) {
  if (name.empty() || name.size() > kMaxName || !absl::ascii_islower(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return IsLowerOrDigit(c) || c == '_'; });
}

bool IsName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxName || !IsLowerOrDigit(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return IsLowerOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

bool IsUtf8Text(absl::string_view bytes, size_t* bad_offset) {
  for (size_t i = 0; i < bytes.size();) {
    size_t length = bytes[i] == '\0' ? 0 : CharacterLength(bytes.substr(i));
    if (length == 0) {
      if (bad_offset != nullptr) *bad_offset = i;
      return false;
    }
    i += length;
  }
  return true;
}

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string Nearest(absl::string_view name, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 200;
  if (name.size() > kLongest) return "";
  const std::string lower = absl::AsciiStrToLower(name);
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    size_t distance = EditDistance(lower, absl::AsciiStrToLower(candidate));
    if (distance < best_distance && distance < std::max(name.size(), candidate.size())) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string Hint(absl::string_view name, const std::vector<std::string>& candidates) {
  if (std::string nearest = Nearest(name, candidates); !nearest.empty())
    return absl::StrCat("; did you mean ", Quoted(nearest), "?");
  if (candidates.empty()) return "";
  constexpr size_t kShown = 20;
  std::vector<std::string> shown(candidates.begin(), candidates.begin() + std::min(kShown, candidates.size()));
  return absl::StrCat("; known: ", absl::StrJoin(shown, ", "), candidates.size() > kShown ? ", ..." : "");
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 60;
  size_t end = 0;
  while (end < text.size() && end < kShown) {
    size_t length = CharacterLength(text.substr(end));
    end += length == 0 ? 1 : length;
  }
  absl::string_view head = text.substr(0, end);
  return absl::StrCat("\"", IsUtf8Text(head) ? absl::Utf8SafeCEscape(head) : absl::CEscape(head), end < text.size() ? "..." : "",
                      "\"");
}

std::string NumberText(double value) {
  char buffer[64];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr);
}

}  // namespace promptsweep::sweep
