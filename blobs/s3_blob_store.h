// A bucket of any server that speaks S3, through libcurl. Requests are signed (Signature Version 4) with the SHA-256 of their
// body; objects are put with a checksum that the server checks and keeps; addresses are path style.
#pragma once

#include "absl/status/statusor.h"
#include "base/blob_uri.h"
#include "blobs/blob_store.h"

namespace promptsweep {

[[nodiscard]] absl::StatusOr<std::shared_ptr<BlobStore>> OpenS3BlobStore(const BlobUri& uri, const BlobStore::Options& options);

}  // namespace promptsweep
