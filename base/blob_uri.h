// Where blobs are kept, as text: "s3://bucket/prefix" or "file:///folder".
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep {

struct BlobUri {
  enum Scheme { kFile, kS3 };
  Scheme scheme = kFile;
  std::string bucket;  // s3 only
  // s3: the prefix, without slashes at its ends, empty for the whole bucket. file: the absolute folder.
  std::string path;

  // One spelling of one place: what is stored and compared.
  std::string ToString() const;
};

// Slashes at the end are dropped. INVALID_ARGUMENT says in a few words what is wrong: another scheme, an empty or malformed
// bucket, a folder that is not absolute, a path beyond 512 bytes or one that IsBlobPath refuses.
[[nodiscard]] absl::StatusOr<BlobUri> ParseBlobUri(absl::string_view uri);

// True for names joined by single slashes, none of them empty, "." or "..", of at most 255 bytes, without control characters
// and the characters that a URL, a shell or a listing would read as something else (? # % \ " < > `).
[[nodiscard]] bool IsBlobPath(absl::string_view path);

}  // namespace promptsweep
