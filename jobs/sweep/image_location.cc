#include "jobs/sweep/image_location.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/blob_uri.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

constexpr size_t kHexDigits = 2 * kDigestSize;
constexpr size_t kFolderBytes = 3;  // two hex digits and a slash

absl::string_view Suffix(v1::ImageFormat format) {
  switch (format) {
    case v1::IMAGE_FORMAT_WEBP:
      return ".webp";
    case v1::IMAGE_FORMAT_PNG:
      return ".png";
    case v1::IMAGE_FORMAT_JPEG:
      return ".jpg";
    default:
      return "";
  }
}

}  // namespace

std::string ImageKey(absl::string_view digest, v1::ImageFormat format) {
  const absl::string_view suffix = Suffix(format);
  if (suffix.empty() || digest.size() != kDigestSize) return "";
  const std::string hex = ToHex(digest);
  return absl::StrCat(hex.substr(0, 2), "/", hex, suffix);
}

std::string ImageUri(absl::string_view images, absl::string_view digest, v1::ImageFormat format) {
  return absl::StrCat(images, "/", ImageKey(digest, format));
}

std::string DigestOfImageKey(absl::string_view key) {
  if (key.size() < kFolderBytes + kHexDigits) return "";
  const absl::string_view hex = key.substr(kFolderBytes, kHexDigits);
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(hex.begin(), hex.end(), is_hex)) return "";
  const std::string digest = absl::HexStringToBytes(hex);
  for (const v1::ImageFormat format : {v1::IMAGE_FORMAT_WEBP, v1::IMAGE_FORMAT_PNG, v1::IMAGE_FORMAT_JPEG}) {
    if (key == ImageKey(digest, format)) return digest;
  }
  return "";
}

absl::StatusOr<ImagePlace> ParseImageUri(absl::string_view uri) {
  const size_t name = uri.rfind('/');
  const size_t folder = name == absl::string_view::npos || name == 0 ? name : uri.rfind('/', name - 1);
  if (folder == absl::string_view::npos) return absl::DataLossError("no image URI");
  ImagePlace place{std::string(uri.substr(0, folder)), std::string(uri.substr(folder + 1))};
  if (place.images.empty() || !CheckImages(place.images).ok() || DigestOfImageKey(place.key).empty()) {
    return absl::DataLossError("no image URI");
  }
  return place;
}

absl::Status CheckImages(absl::string_view images) {
  if (images.empty()) return absl::OkStatus();
  const auto uri = ParseBlobUri(images);
  if (!uri.ok()) return Annotate(uri.status(), absl::StrCat("images ", Quoted(images)));
  if (uri->ToString() != images) return absl::InvalidArgumentError(absl::StrCat("images is not spelled ", uri->ToString()));
  return absl::OkStatus();
}

}  // namespace promptsweep::sweep
