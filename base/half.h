// IEEE 754 half precision to and from float, the format embeddings are stored in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep {

// Round to nearest even; overflow gives infinity.
[[nodiscard]] uint16_t HalfFromFloat(float value);
// Exact.
[[nodiscard]] float FloatFromHalf(uint16_t half);

// Little-endian halves of `values`.
[[nodiscard]] std::string PackHalves(const float* values, size_t count);
// Inverse of PackHalves. An odd byte at the end is ignored.
[[nodiscard]] std::vector<float> UnpackHalves(absl::string_view bytes);

}  // namespace promptsweep
