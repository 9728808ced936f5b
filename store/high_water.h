// The acknowledged high-water mark: what a store said is durable, kept beside RocksDB so that a folder that came back shorter
// is refused instead of served.
//
// RocksDB forgives what looks like an unfinished write at the end of a log or a manifest, and never misses a log that is gone.
// The mark tells an unfinished write from an acknowledged one. It lives in the file `acknowledged` of the store folder and holds
// the store's uuid, the number of the last acknowledged write, and size and XXH3 of every live log and manifest as of their last
// sync. Three slots in turn: one is written, one is on its way to the disk, one is durable, so no torn write destroys the mark.
// DO NOT CHANGE the layout (see EncodeMark in high_water.cc) without a new version number.
#pragma once

#include <rocksdb/file_system.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace promptsweep::store {

inline constexpr char kHighWaterFile[] = "acknowledged";

// The first `bytes` bytes of an append-only file of RocksDB.
struct FileMark {
  enum class Kind : uint8_t { kLog = 1, kManifest = 2 };
  Kind kind = Kind::kLog;
  uint64_t number = 0;  // as in its name
  uint64_t bytes = 0;
  uint64_t xxh3 = 0;
};

struct Mark {
  std::string uuid;       // of the store, 16 bytes
  uint64_t sequence = 0;  // RocksDB's number of the last acknowledged write
  std::vector<FileMark> files;
};

// Writes the mark of a copy of a store (a checkpoint, a restored backup), durably; any earlier one goes. `sequence`: at most
// the copy's last write. RESOURCE_EXHAUSTED on a full disk, else UNAVAILABLE.
[[nodiscard]] absl::Status WriteHighWaterMark(const std::string& folder, absl::string_view uuid, uint64_t sequence);
// NOT_FOUND: no mark. DATA_LOSS: no slot can be read.
[[nodiscard]] absl::StatusOr<Mark> ReadHighWaterMark(const std::string& folder);

// The mark of an open store. Thread-safe.
class HighWater {
 public:
  struct Options {
    std::string folder;
    // The mark is made durable at most this long after an acknowledgement. Until then it survives kill -9, not a power cut:
    // then it lags, which hides a loss and never invents one.
    absl::Duration sync_interval = absl::Seconds(1);
    // Making it durable failed. From a thread of its own; must not block. May be null.
    std::function<void(absl::Status)> on_error;
  };
  explicit HighWater(Options options);
  // Makes the mark durable.
  ~HighWater();
  HighWater(const HighWater&) = delete;
  HighWater& operator=(const HighWater&) = delete;

  // Reads what the folder has. `accept_loss`: what was there counts for nothing.
  [[nodiscard]] absl::Status Load(bool accept_loss);
  // Before RocksDB opens: DATA_LOSS where a file is missing, short or harmed that acknowledged writes are in.
  [[nodiscard]] absl::Status CheckFiles(rocksdb::FileSystem& files);
  // True where logs may be read up to the first bad record: what was acknowledged is known to stand before it, or is given up.
  [[nodiscard]] bool MayEndEarly() const { return accept_loss_ || found_.ok(); }
  void set_ended_early() { ended_early_ = true; }
  bool ended_early() const { return ended_early_; }
  // What was recovered: no store at all, or the uuid and last write of one. DATA_LOSS where more was acknowledged, or where the
  // mark is missing (but for a store of version 1, which had none, and one that was never written to), unreadable or another's.
  [[nodiscard]] absl::Status CheckNothing() const;
  [[nodiscard]] absl::Status CheckStore(absl::string_view uuid, uint64_t sequence, uint64_t never_written, bool had_mark) const;
  // From here on the mark is kept, durably so when this returns. Once.
  [[nodiscard]] absl::Status Start(absl::string_view uuid, uint64_t sequence);

  // Everything up to `sequence` is synced: after an error nobody may be told so.
  [[nodiscard]] absl::Status Acknowledge(uint64_t sequence) ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t acknowledged() const ABSL_LOCKS_EXCLUDED(mu_);

  // From the file system: `file` is what its last sync covered; it is about to be deleted, which an error forbids.
  void Synced(const FileMark& file) ABSL_LOCKS_EXCLUDED(mu_);
  [[nodiscard]] absl::Status Deleting(FileMark::Kind kind, uint64_t number) ABSL_LOCKS_EXCLUDED(mu_, sync_mu_);

 private:
  static constexpr int kSlots = 3;
  using FileKey = std::pair<FileMark::Kind, uint64_t>;

  absl::Status Loss(absl::string_view what) const;
  absl::Status WriteSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SyncNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sync_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Into every slot, durably.
  absl::Status WriteEverySlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sync_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_, sync_mu_);

  const Options options_;
  // What Load found.
  absl::StatusOr<Mark> found_ = absl::NotFoundError("");
  bool accept_loss_ = false;
  bool ended_early_ = false;
  int fd_ = -1;  // set before anything is concurrent

  absl::Mutex sync_mu_ ABSL_ACQUIRED_BEFORE(mu_);  // held while a slot is on its way to the disk
  mutable absl::Mutex mu_;
  Mark mark_ ABSL_GUARDED_BY(mu_);                           // files: unused, see files_
  std::map<FileKey, FileMark> files_ ABSL_GUARDED_BY(mu_);   // part of the mark
  std::map<FileKey, FileMark> synced_ ABSL_GUARDED_BY(mu_);  // logs that the next acknowledgement covers
  uint64_t writes_ ABSL_GUARDED_BY(mu_) = 0;
  int slot_ ABSL_GUARDED_BY(mu_) = 0;
  bool dirty_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace promptsweep::store
