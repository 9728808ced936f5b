// Puts images where their sweep keeps them, if that is not the store: before a result is sent, in place of sending the image.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "blobs/blob_stores.h"
#include "worker/pipeline/uploader.h"

namespace promptsweep::worker {

class ImageSink {
 public:
  struct Options {
    BlobOpener open;   // null: BlobStore::Open, given up when `stopped` says so
    size_t width = 8;  // objects put at a time
    std::function<bool()> stopped;
  };
  explicit ImageSink(Options options);

  // FAILED_PRECONDITION or INVALID_ARGUMENT where this worker can never put an image into `images` (SweepSpec.images), say for
  // want of credentials. Talks to nobody. Thread-safe.
  [[nodiscard]] absl::Status Check(const std::string& images);

  // For every upload with `images` whose image is not put yet: puts it, sets the result's image_uri and image_bytes, and moves
  // the bytes out of the result into `image`, where they stay until the store has acknowledged. UNAVAILABLE: nobody's fault but
  // the place's; call again later. ALREADY_EXISTS: other bytes stand under the name of one of them. One caller at a time.
  [[nodiscard]] absl::Status Put(std::vector<Upload>& batch);

  // The store misses objects: the next Put puts them all again.
  static void PutAgain(std::vector<Upload>& batch);

 private:
  absl::Status PutOne(Upload& upload);

  const Options options_;
  BlobStores stores_;
};

}  // namespace promptsweep::worker
