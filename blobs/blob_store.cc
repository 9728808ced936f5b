#include "blobs/blob_store.h"

#include "base/blob_uri.h"
#include "base/status.h"
#include "blobs/file_blob_store.h"
#include "blobs/s3_blob_store.h"

namespace promptsweep {

absl::StatusOr<std::shared_ptr<BlobStore>> BlobStore::Open(absl::string_view uri, const Options& options) {
  const absl::StatusOr<BlobUri> parsed = ParseBlobUri(uri);
  if (!parsed.ok()) return Annotate(parsed.status(), "images");
  if (parsed->scheme == BlobUri::kFile) return OpenFileBlobStore(*parsed, options);
  return OpenS3BlobStore(*parsed, options);
}

}  // namespace promptsweep
