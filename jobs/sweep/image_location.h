// Where the image of a cell is, in a sweep that keeps its images outside of the store: one name for one content, so that whoever
// puts it, asks for it or removes it means the same object.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::sweep {

// `<first 2 hex digits>/<64 hex digits>.<webp|png|jpg>` of the image's SHA-256 (32 bytes). Empty without a format.
[[nodiscard]] std::string ImageKey(absl::string_view digest, v1::ImageFormat format);

// SweepSpec.images, a slash, the key.
[[nodiscard]] std::string ImageUri(absl::string_view images, absl::string_view digest, v1::ImageFormat format);

// The digest in a key of exactly that form; empty for any other name.
[[nodiscard]] std::string DigestOfImageKey(absl::string_view key);

struct ImagePlace {
  std::string images;  // as in SweepSpec.images
  std::string key;
};
// Takes an ImageUri apart. DATA_LOSS where it is none.
[[nodiscard]] absl::StatusOr<ImagePlace> ParseImageUri(absl::string_view uri);

// OK for the empty text (the store itself) and for the one spelling of a place for blobs (base/blob_uri.h). INVALID_ARGUMENT.
[[nodiscard]] absl::Status CheckImages(absl::string_view images);

}  // namespace promptsweep::sweep
