#include "worker/text/unicode.h"

#include <unicode/uchar.h>

namespace promptsweep::worker {

std::vector<char32_t> LowerEach(const std::vector<char32_t>& text) {
  std::vector<char32_t> lower;
  lower.reserve(text.size());
  for (const char32_t c : text) {
    lower.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
    if (c == 0x130) lower.push_back(0x307);
  }
  return lower;
}

bool IsPythonSpace(char32_t c) { return (c >= 0x1C && c <= 0x1F) || u_isUWhiteSpace(static_cast<UChar32>(c)); }

}  // namespace promptsweep::worker
