// A folder as a blob store. Keys are paths in it; an object appears under its name only once its bytes are on the disk. Symbolic
// links inside of the folder are not followed. Interrupted Puts leave hidden files, which List removes a day later.
#pragma once

#include "absl/status/statusor.h"
#include "base/blob_uri.h"
#include "blobs/blob_store.h"

namespace promptsweep {

// The folder is made by the first Put.
[[nodiscard]] absl::StatusOr<std::shared_ptr<BlobStore>> OpenFileBlobStore(const BlobUri& uri, const BlobStore::Options& options);

}  // namespace promptsweep
