#include "store/orphans.h"

#include <rocksdb/snapshot.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "jobs/sweep/image_location.h"

namespace promptsweep::store {
namespace {

constexpr uint64_t kRowsAtOnce = 8 << 20;
constexpr int kFolders = 256;  // by the first byte of the digest

// The first bytes of a digest: a stranger that shares them keeps an orphan alive, which harms nobody.
uint64_t Short(absl::string_view digest) {
  uint64_t value;
  std::memcpy(&value, digest.data(), sizeof(value));
  return value;
}

class Remover {
 public:
  // `rows`: at least as many as refer to the place.
  Remover(Database& database, OutsideImages& images, absl::Time old, std::string place, uint64_t rows,
          const rocksdb::Snapshot* snapshot)
      : database_(database), images_(images), old_(old), place_(std::move(place)), rows_(rows), snapshot_(snapshot) {}

  absl::Status Run(Orphans& removed) {
    PS_ASSIGN_OR_RETURN(store_, images_.stores().Get(place_));
    // Folders are taken in equal shares, so that the digests of each share's rows fit.
    const int shares = static_cast<int>(std::min<uint64_t>(rows_ / kRowsAtOnce + 1, kFolders));
    for (int share = 0; share < shares; ++share) {
      const int begin = kFolders * share / shares, end = kFolders * (share + 1) / shares;
      PS_RETURN_IF_ERROR(Collect(begin, end));
      for (int folder = begin; folder < end; ++folder) PS_RETURN_IF_ERROR(RemoveFrom(folder, removed));
    }
    return absl::OkStatus();
  }

 private:
  // The digests that begin with a byte in [begin, end) of images that rows refer to here.
  absl::Status Collect(int begin, int end) {
    known_.clear();
    Rows rows(database_, Family::kResults, "", EndOfKeys(), snapshot_, {.bulk = true});
    for (; rows.Valid(); rows.Next()) {
      PS_ASSIGN_OR_RETURN(const ResultRow row, DecodeResultRow(rows.value()));
      if (row.rest.empty() || row.image_digest.empty()) continue;
      v1::Result rest;
      if (!rest.ParseFromString(row.rest)) return absl::DataLossError("unreadable result row");
      const absl::string_view uri = rest.image_uri();
      if (!absl::StartsWith(uri, place_) || uri != sweep::ImageUri(place_, row.image_digest, row.format)) continue;
      const int first = static_cast<unsigned char>(row.image_digest[0]);
      if (first >= begin && first < end) known_.push_back(Short(row.image_digest));
    }
    PS_RETURN_IF_ERROR(rows.status());
    std::sort(known_.begin(), known_.end());
    return absl::OkStatus();
  }

  absl::Status RemoveFrom(int folder, Orphans& removed) {
    // Asked for every folder: a store that comes to the place while this runs must not lose an image.
    PS_RETURN_IF_ERROR(Annotate(images_.CheckSoleOwner(*store_), place_));
    const std::string prefix = absl::StrFormat("%02x/", folder);
    std::string cursor;
    do {
      PS_ASSIGN_OR_RETURN(BlobPage page, store_->List(prefix, cursor));
      for (const BlobEntry& entry : page.entries) {
        const std::string digest = sweep::DigestOfImageKey(entry.key);
        if (digest.empty() || entry.modified > old_) continue;
        if (std::binary_search(known_.begin(), known_.end(), Short(digest)) || !images_.Claim(digest)) continue;
        const absl::Status status = store_->Delete(entry.key);
        images_.Removed(digest);
        PS_RETURN_IF_ERROR(status);
        ++removed.objects;
        removed.bytes += entry.size;
      }
      cursor = std::move(page.next);
    } while (!cursor.empty());
    return absl::OkStatus();
  }

  Database& database_;
  OutsideImages& images_;
  const absl::Time old_;
  const std::string place_;
  const uint64_t rows_;
  const rocksdb::Snapshot* const snapshot_;
  std::shared_ptr<BlobStore> store_;
  std::vector<uint64_t> known_;
};

}  // namespace

absl::StatusOr<Orphans> RemoveOrphanObjects(Database& database, const Ledger& ledger, OutsideImages& images, Clock& clock,
                                            absl::Duration min_age) {
  const std::set<std::string> places = ledger.ImagePlaces();
  uint64_t rows = 0;
  for (const auto& sweep : ledger.Sweeps()) rows += ledger.Info(*sweep, /*with_cells=*/false).counts().done();
  Orphans removed;
  if (places.empty()) return removed;
  if (!images.BeginRemoval()) return absl::ResourceExhaustedError("another removal of orphan objects is running");
  const absl::Cleanup end = [&] { images.EndRemoval(); };
  rocksdb::ManagedSnapshot snapshot(&database.db());
  const absl::Time old = absl::FromUnixMillis(static_cast<int64_t>(clock.WallMillis())) - min_age;
  absl::Status failed;
  for (const std::string& place : places) {
    const absl::Status status = Remover(database, images, old, place, rows, snapshot.snapshot()).Run(removed);
    if (!status.ok() && failed.ok()) {
      failed = absl::IsDataLoss(status) || absl::IsFailedPrecondition(status) ? status : absl::UnavailableError(status.message());
    }
  }
  if (!failed.ok()) return Annotate(failed, absl::StrCat(removed.objects, " orphan objects removed, then"));
  return removed;
}

}  // namespace promptsweep::store
