// The blob stores a process uses, opened once each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "blobs/blob_store.h"

namespace promptsweep {

using BlobOpener = std::function<absl::StatusOr<std::shared_ptr<BlobStore>>(const std::string& uri)>;

// Thread-safe. What cannot be opened is tried again when asked for again.
class BlobStores {
 public:
  // Null: BlobStore::Open with its default options.
  explicit BlobStores(BlobOpener open) : open_(std::move(open)) {
    if (!open_) open_ = [](const std::string& uri) { return BlobStore::Open(uri, BlobStore::Options()); };
  }
  [[nodiscard]] absl::StatusOr<std::shared_ptr<BlobStore>> Get(const std::string& uri) {
    absl::MutexLock lock(&mu_);
    if (const auto found = stores_.find(uri); found != stores_.end()) return found->second;
    auto opened = open_(uri);
    if (opened.ok()) stores_[uri] = *opened;
    return opened;
  }

 private:
  BlobOpener open_;
  absl::Mutex mu_;
  std::map<std::string, std::shared_ptr<BlobStore>> stores_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep
