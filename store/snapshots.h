// Copies of a store as of one moment: checkpoints beside it, and backups to another disk. Nothing of it runs on the committer's
// thread, and neither waits for writers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/maintenance.h"

namespace promptsweep::store {

// What a store folder holds, read without changing a byte of it.
struct FolderFacts {
  std::string uuid;
  // Number of its last write.
  uint64_t sequence = 0;
  // Sweep -> cells with a result. Sweeps that are being deleted have none.
  std::map<uint32_t, uint64_t> done;
};
// `checksums`: also reads every table. DATA_LOSS where anything is damaged. UNAVAILABLE once `cancellation` is. The folder may be
// open for writing only in the sense that its files are shared with one that is.
[[nodiscard]] absl::StatusOr<FolderFacts> InspectFolder(const std::string& folder, rocksdb::Env* env, bool checksums,
                                                        const Cancellation& cancellation);

// Must outlive the call.
struct SnapshotSource {
  Database& database;
  // Sweep -> cells with a durable result, as of the call.
  std::function<std::map<uint32_t, uint64_t>()> done;
  const Cancellation& cancellation;
};

// Makes `folder`, which must be absent or empty, by hard links where it is on the store's file system and by copies elsewhere.
// It opens as a store. Everything of it is synced, and it was opened, its checksums read and its counts compared; what does not
// pass is made once more, then removed. ALREADY_EXISTS: something is in it. DATA_LOSS: both were bad.
[[nodiscard]] absl::StatusOr<v1::CheckpointResponse> MakeCheckpoint(const SnapshotSource& source, const std::string& folder);

// Adds one backup to a backup folder of this store and reads all of it back. FAILED_PRECONDITION: the folder holds something
// else, or backups of another store. DATA_LOSS: a file in the folder is damaged; the new backup is removed again.
[[nodiscard]] absl::StatusOr<v1::BackupResponse> MakeBackup(const SnapshotSource& source, const std::string& folder);

struct RestoreOptions {
  std::string backup;   // folder
  std::string folder;   // where the store is to be; absent or empty
  uint32_t number = 0;  // 0: the newest
};
struct Restored {
  uint32_t backup = 0;
  uint64_t bytes = 0;
  FolderFacts facts;
};
// Makes a store out of a backup, in this process. Verified before the folder gets its name: it is there whole or not at all.
// NOT_FOUND: no such backup. ALREADY_EXISTS: something is in the folder. DATA_LOSS: the backup is damaged, or newer ones are and
// none was named.
[[nodiscard]] absl::StatusOr<Restored> RestoreStore(const RestoreOptions& options);

// A name for a folder of this store's making beside others: letters, digits, '.', '_' and '-', no "..". INVALID_ARGUMENT.
[[nodiscard]] absl::Status CheckSnapshotName(const std::string& name);

}  // namespace promptsweep::store
