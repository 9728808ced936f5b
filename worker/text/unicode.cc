#include "worker/text/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unistr.h>

namespace promptsweep::worker {

std::u32string CodePoints(absl::string_view utf8) {
  const auto unicode = icu::UnicodeString::fromUTF8(icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())));
  std::u32string points;
  points.reserve(utf8.size());
  for (int32_t i = 0; i < unicode.length();) {
    const UChar32 c = unicode.char32At(i);
    i += U16_LENGTH(c);
    points.push_back(static_cast<char32_t>(c));
  }
  return points;
}

void AppendUtf8(char32_t c, std::string& out) { icu::UnicodeString(static_cast<UChar32>(c)).toUTF8String(out); }

std::u32string LowerEach(const std::u32string& text) {
  std::u32string lower;
  lower.reserve(text.size());
  for (const char32_t c : text) {
    lower.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
    if (c == 0x130) lower.push_back(0x307);
  }
  return lower;
}

bool IsPythonSpace(char32_t c) { return (c >= 0x1C && c <= 0x1F) || u_isUWhiteSpace(static_cast<UChar32>(c)); }

}  // namespace promptsweep::worker
