// The two XML replies of S3 that are read here. Safe on any bytes: no recursion, no entity but the five of XML and character
// numbers, no document types, and memory bounded by the input.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "blobs/blob_store.h"

namespace promptsweep {

struct S3Listing {
  std::vector<BlobEntry> entries;  // keys as the bucket has them
  bool truncated = false;
  std::string token;  // of the next page; set where truncated
};

// A ListBucketResult of ListObjectsV2. DATA_LOSS where it is none, is cut short, lacks a field or has one that makes no sense.
[[nodiscard]] absl::StatusOr<S3Listing> ParseS3Listing(absl::string_view xml);

// The <Code> of an error reply: at most 64 letters and digits. Empty where there is none.
[[nodiscard]] std::string ParseS3ErrorCode(absl::string_view xml);

}  // namespace promptsweep
