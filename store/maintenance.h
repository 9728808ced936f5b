// What keeps a store small and tells what it costs: compaction that really removes bytes, and statistics.
#pragma once

#include <rocksdb/options.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"

namespace promptsweep::store {

// Ends long work early. Thread-safe.
class Cancellation {
 public:
  // Idempotent.
  void Cancel() {
    if (!flag_.exchange(true)) notification_.Notify();
  }
  bool cancelled() const { return flag_; }
  // OK, or UNAVAILABLE "the store is shutting down".
  [[nodiscard]] absl::Status status() const;
  // Waits for `timeout`, or until cancelled; then as status().
  [[nodiscard]] absl::Status Wait(absl::Duration timeout) const;
  // As RocksDB wants it.
  std::atomic<bool>* flag() { return &flag_; }

 private:
  std::atomic<bool> flag_{false};
  absl::Notification notification_;
};

// Keys [begin, end) of one family.
struct KeyRange {
  Family family = Family::kDefault;
  std::string begin;
  std::string end;
};

// Rewrites what is on disk so that of keys that were deleted before, in these ranges, no byte is left in any file: waits for
// snapshots older than the call, writes out memory (which ends the log), compacts the ranges down to the last level, moves live
// blobs out of blob files that also hold dead ones, and waits until the old files are gone. Blocks for as long as that takes.
// RESOURCE_EXHAUSTED before a step for which there may not be room on the disk.
[[nodiscard]] absl::Status Purge(Database& database, const std::vector<KeyRange>& ranges, Cancellation& cancellation);

// Gives tables that lie in these ranges altogether back to the disk at once, without writing anything; waits for snapshots older
// than the call. Keys of the ranges in other tables stay, also keys that a dropped table's tombstones hid: delete the ranges
// after.
[[nodiscard]] absl::Status DropTables(Database& database, const std::vector<KeyRange>& ranges, Cancellation& cancellation);

// Every key of every family.
[[nodiscard]] std::vector<KeyRange> AllKeys();

// Bytes of a folder's files, folders in it included; what vanishes meanwhile counts as nothing.
[[nodiscard]] uint64_t FolderBytes(const std::string& folder);

// What the database alone knows of a GetStatsResponse: all but sweeps, results, groups, staged_vectors and
// accepted_bytes.
[[nodiscard]] absl::Status FillStats(Database& database, v1::GetStatsResponse& stats);

}  // namespace promptsweep::store
