// Pictures to and from files' bytes: lossless WebP and PNG out; WebP, PNG and JPEG in, from anywhere, hostile bytes included.
// No torch. Every function is thread-safe; errors are INVALID_ARGUMENT unless said otherwise, and nothing is thrown or leaked.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::worker {

// Limits on what is decoded or encoded, checked on the header before a pixel is allocated.
inline constexpr int kMaxImageSide = 8192;
inline constexpr int64_t kMaxImagePixels = 32'000'000;

// 8-bit sRGB, row-major, 3 bytes a pixel: rgb.size() == 3 * width * height.
struct Image {
  int width = 0;
  int height = 0;
  std::string rgb;
};

// What the first bytes say; IMAGE_FORMAT_UNSPECIFIED where none of the three formats.
[[nodiscard]] v1::ImageFormat SniffImageFormat(absl::string_view bytes);

// Size and format, without decoding pixels.
struct ImageHeader {
  v1::ImageFormat format = v1::IMAGE_FORMAT_UNSPECIFIED;
  int width = 0;
  int height = 0;
};
[[nodiscard]] absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes);

// Transparent pixels are laid over white. 16-bit PNG is reduced to 8. Refused: more than the limits, animations, CMYK JPEG, files
// that are cut short.
[[nodiscard]] absl::StatusOr<Image> DecodeImage(absl::string_view bytes);

// Lossless. `effort` 0 (fastest) to 9 (smallest), as in cwebp -z; on noisy gradients 1 is 2.5-6 times slower than 0 for
// files 15-20 % smaller, and more gains next to nothing. The same pixels and effort give the same bytes.
// RESOURCE_EXHAUSTED where memory is out.
inline constexpr int kWebpEffort = 0;
[[nodiscard]] absl::StatusOr<std::string> EncodeWebp(absl::string_view rgb, int width, int height, int effort = kWebpEffort);
[[nodiscard]] absl::StatusOr<std::string> EncodePng(absl::string_view rgb, int width, int height);

}  // namespace promptsweep::worker
