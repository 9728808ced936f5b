// Whole numbers in a file's byte order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace promptsweep::weights {

// Precondition: at + sizeof(T) <= bytes.size().
template <typename T>
[[nodiscard]] T LittleEndian(absl::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return static_cast<T>(value);
}

}  // namespace promptsweep::weights
