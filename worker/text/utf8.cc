#include "worker/text/utf8.h"

#include <unicode/utf8.h>

namespace promptsweep::worker {

std::vector<char32_t> DecodeUtf8(absl::string_view text) {
  std::vector<char32_t> points;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size;) {
    UChar32 c;
    U8_NEXT_OR_FFFD(bytes, i, size, c);
    points.push_back(static_cast<char32_t>(c));
  }
  return points;
}

void AppendUtf8(char32_t c, std::string& out) {
  uint8_t bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, static_cast<UChar32>(c));
  out.append(reinterpret_cast<const char*>(bytes), length);
}

}  // namespace promptsweep::worker
