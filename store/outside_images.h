// Images that a sweep keeps outside of the store, in a folder or a bucket: looked at before a result may refer to one, fetched
// for readers, and kept from being removed while a reference to them is on its way to the disk.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "blobs/blob_stores.h"
#include "store/executor.h"

namespace promptsweep::store {

// What a row says about its image.
struct OutsideImage {
  std::string uri;  // sweep::ImageUri
  uint64_t bytes = 0;
  std::string digest;  // SHA-256
};

// Thread-safe.
class OutsideImages {
 public:
  // Null: BlobStore::Open, with less patience than a client of the store has.
  explicit OutsideImages(BlobOpener open);
  ~OutsideImages();
  // The store's uuid: before the first Check.
  void set_owner(absl::string_view uuid);
  // Ends the threads of Post: what waits for a place ends soon with UNAVAILABLE, and nothing is posted any more. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  // Runs a task of admission, which may wait for a place, on threads that do nothing else. False where too many wait, or after
  // Stop.
  [[nodiscard]] bool Post(std::function<void()> task) ABSL_LOCKS_EXCLUDED(mu_);

  // Before its first answer about a place it leaves the store's name there, so that other stores know whose images these are.
  // OK: an object of that size and digest is there. NOT_FOUND: none is. INVALID_ARGUMENT: another one is. UNAVAILABLE: nobody can
  // say now. Blocks.
  [[nodiscard]] absl::Status Check(const OutsideImage& image);
  // The bytes. DATA_LOSS: the object is gone, or not the one that was stored. UNAVAILABLE: not now. Blocks.
  [[nodiscard]] absl::StatusOr<std::string> Fetch(const OutsideImage& image);

  // A Fetch under way on a thread of this class.
  class Pending {
   public:
    [[nodiscard]] absl::StatusOr<std::string> Wait();

   private:
    friend class OutsideImages;
    absl::Notification done_;
    absl::StatusOr<std::string> bytes_ = absl::UnavailableError("not fetched");
  };
  [[nodiscard]] std::shared_ptr<Pending> Start(OutsideImage image);

  BlobStores& stores() { return stores_; }
  // FAILED_PRECONDITION where another store has left its name: what looks like an orphan may be its image.
  [[nodiscard]] absl::Status CheckSoleOwner(BlobStore& place);

  // Admission: from before Check until the row is durable or given up. False while that image is being removed.
  [[nodiscard]] bool Hold(const std::string& digest) ABSL_LOCKS_EXCLUDED(mu_);
  void Release(const std::string& digest) ABSL_LOCKS_EXCLUDED(mu_);

  // Removal of orphans, one at a time; false where one runs already. The rows are to be read as of a later moment: what was held
  // at any time since is not to be had.
  [[nodiscard]] bool BeginRemoval() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRemoval() ABSL_LOCKS_EXCLUDED(mu_);
  // True: no row was added for it since BeginRemoval, and none will be until Removed.
  [[nodiscard]] bool Claim(const std::string& digest) ABSL_LOCKS_EXCLUDED(mu_);
  void Removed(const std::string& digest) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::StatusOr<std::shared_ptr<BlobStore>> OpenDefault(const std::string& uri);

  absl::Status SignAt(const std::string& images, BlobStore& place) ABSL_LOCKS_EXCLUDED(mu_);

  std::string owner_;  // hex
  std::atomic<bool> stopped_{false};
  BlobStores stores_;
  absl::Mutex mu_;
  // Made when first needed: most stores never do.
  std::unique_ptr<Executor> fetches_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Executor> admissions_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> signed_ ABSL_GUARDED_BY(mu_);  // places
  absl::flat_hash_map<std::string, int> held_ ABSL_GUARDED_BY(mu_);
  bool removing_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<std::string> held_since_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> claimed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep::store
