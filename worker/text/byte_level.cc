#include "worker/text/byte_level.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "absl/strings/match.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {

const std::array<std::string, 256>& ByteCharacters() {
  static const auto& characters = *[] {
    auto* all = new std::array<std::string, 256>;
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
      AppendUtf8(itself ? b : next++, (*all)[b]);
    }
    return all;
  }();
  return characters;
}

CharacterKind KindOf(UChar32 c) {
  if (U_GET_GC_MASK(c) & U_GC_L_MASK) return CharacterKind::kLetter;
  if (U_GET_GC_MASK(c) & U_GC_N_MASK) return CharacterKind::kNumber;
  return u_isUWhiteSpace(c) ? CharacterKind::kSpace : CharacterKind::kOther;
}

std::vector<absl::string_view> ByteLevelWords(absl::string_view text) {
  struct Point {
    size_t begin;
    CharacterKind kind;
  };
  std::vector<Point> points;
  for (int32_t i = 0; i < static_cast<int32_t>(text.size());) {
    const auto begin = static_cast<size_t>(i);
    UChar32 c;
    U8_NEXT_OR_FFFD(reinterpret_cast<const uint8_t*>(text.data()), i, static_cast<int32_t>(text.size()), c);
    points.push_back({begin, KindOf(c)});
  }
  const auto offset = [&](size_t point) { return point < points.size() ? points[point].begin : text.size(); };
  std::vector<absl::string_view> words;
  for (size_t i = 0; i < points.size();) {
    size_t end = i;
    for (absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (end == i && absl::StartsWith(text.substr(points[i].begin), contraction)) end = i + contraction.size();
    }
    if (end == i) {
      // One space goes with the word after it.
      const bool leading = text[points[i].begin] == ' ' && i + 1 < points.size();
      const size_t first = leading ? i + 1 : i;
      const CharacterKind kind = points[first].kind;
      if (kind != CharacterKind::kSpace) {
        for (end = first; end < points.size() && points[end].kind == kind;) ++end;
      } else {
        for (end = i; end < points.size() && points[end].kind == CharacterKind::kSpace;) ++end;
        if (end < points.size() && end - i > 1) --end;
      }
    }
    words.push_back(text.substr(offset(i), offset(end) - offset(i)));
    i = end;
  }
  return words;
}

}  // namespace promptsweep::worker
