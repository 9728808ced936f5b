// A store folder as RocksDB: opening, locking, options, and statuses in our own terms. Nothing here knows what a cell is.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>
#include <rocksdb/write_buffer_manager.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "store/schema.h"

namespace promptsweep::store {

class HighWater;
class WatchedFs;

inline rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// One line. No space left: RESOURCE_EXHAUSTED "disk full: ..."; corruption: DATA_LOSS; other I/O errors: UNAVAILABLE.
[[nodiscard]] absl::Status FromRocks(const rocksdb::Status& status);

// Bytes written to the disk since the store was opened.
struct WrittenBytes {
  uint64_t log = 0;
  uint64_t tables = 0;
  uint64_t blobs = 0;
  uint64_t other = 0;
  uint64_t total() const { return log + tables + blobs + other; }
};

// An open store folder. Thread-safe. Holds the folder's lock until destroyed. Every write is synced: GetLatestSequenceNumber()
// must never run ahead of the disk.
class Database {
 public:
  static constexpr size_t kDefaultMemoryBytes = 144 << 20;
  static constexpr size_t kMinMemoryBytes = 64 << 20;  // a few groups of writes

  struct Options {
    std::string folder;
    // Make the folder and an empty store where there is none. Never over data files that lost their CURRENT file.
    bool create_if_missing = false;
    // Open even where acknowledged writes are missing; what is there becomes what counts as acknowledged.
    bool accept_loss = false;
    // Where RocksDB's files go; null: the machine's. The folder lock, the ballast and the high-water mark always go to the
    // machine's.
    std::shared_ptr<rocksdb::FileSystem> file_system;
    // Size of a file that is kept so that a full disk can be opened again by deleting it; 0: none.
    uint64_t ballast_bytes = 16 << 20;
    // The ballast is made only where this much stays free beside it.
    uint64_t low_water_bytes = 64 << 20;
    // Bytes that a family's memtable takes before it goes to a file, and a quarter of the log that may wait for that; 0: the
    // store's own. For tests that want tables, blobs and compactions from little data.
    size_t write_buffer_bytes = 0;
    // What the block cache and the memtables may take together; two thirds of it are for memtables. At least kMinMemoryBytes.
    size_t memory_bytes = kDefaultMemoryBytes;
    // A flush or compaction failed. From a thread of its own; must not block or call back.
    std::function<void(absl::Status)> on_background_error;
  };

  // NOT_FOUND: no folder, or no store in it. FAILED_PRECONDITION: in use by another process, of a newer schema version (then
  // nothing that is in the folder was changed), or damaged. RESOURCE_EXHAUSTED: disk full even without the ballast. DATA_LOSS:
  // RocksDB found corruption, or acknowledged writes are missing (see high_water.h).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Database>> Open(Options options);
  ~Database();

  rocksdb::DB& db() { return *db_; }
  rocksdb::ColumnFamilyHandle* family(Family family) const { return handles_[static_cast<size_t>(family)]; }
  // NOT_FOUND (no message) where there is no such key.
  [[nodiscard]] absl::StatusOr<std::string> Get(Family family, absl::string_view key,
                                                const rocksdb::Snapshot* snapshot = nullptr);
  // Ends the log: writes a row that says what it said, and its family to a table. Safe beside a committer.
  [[nodiscard]] absl::Status BeginLog();
  // Free bytes of the folder's file system for this user.
  [[nodiscard]] absl::StatusOr<uint64_t> FreeBytes();
  // Raises the high-water mark to what is synced. Before anyone is told OK; after an error nobody may be.
  [[nodiscard]] absl::Status Acknowledge();
  // Number of the last acknowledged write.
  uint64_t acknowledged() const;
  // What the block cache and the memtables hold, and what they may.
  size_t memory_used() const;
  size_t memory_limit() const { return options_.memory_bytes; }
  uint64_t low_water_bytes() const { return options_.low_water_bytes; }
  // True while memtables on their way to the disk take what new ones need: a writer waits.
  bool memory_full() const;
  [[nodiscard]] WrittenBytes written() const;
  // 16 random bytes, made with the store.
  const std::string& uuid() const { return uuid_; }
  const std::string& folder() const { return options_.folder; }

 private:
  explicit Database(Options options);
  absl::Status LockFolder();
  absl::Status CheckVersion();
  absl::Status OpenRocks();
  absl::Status CheckMeta();
  rocksdb::Status PutVersion();
  absl::Status SyncLogs();
  void RestoreBallast();
  std::string BallastPath() const;

  const Options options_;
  int lock_fd_ = -1;
  std::unique_ptr<HighWater> high_water_;  // outlives files_
  std::shared_ptr<WatchedFs> files_;
  std::unique_ptr<rocksdb::Env> env_;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<rocksdb::WriteBufferManager> memtables_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};
  // Families a newer version made; opened only because RocksDB demands it.
  std::vector<rocksdb::ColumnFamilyHandle*> unknown_;
  std::string uuid_;
};

// A store folder, read without changing a byte of it or taking its lock. Not thread-safe.
class ReadOnlyDatabase {
 public:
  // Of a folder that is not open for writing elsewhere; `only` these families, where there are any. `env` must outlive it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ReadOnlyDatabase>> Open(const std::string& folder, rocksdb::Env* env,
                                                                              const std::vector<Family>& only = {});
  ~ReadOnlyDatabase();
  rocksdb::DB& db() { return *db_; }
  // NOT_FOUND (no message) where there is no such key, or no such family.
  [[nodiscard]] absl::StatusOr<std::string> Get(Family family, absl::string_view key);
  // Every row in order, until `row` fails.
  [[nodiscard]] absl::Status ForEach(Family family,
                                     const std::function<absl::Status(absl::string_view key, absl::string_view value)>& row);

 private:
  ReadOnlyDatabase() = default;
  rocksdb::ColumnFamilyHandle* Find(Family family) const;

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

// The rows of one family with keys in [begin, end), in order, as of a snapshot. Ends early on corruption, so status() must be
// asked once Valid() is false. Not thread-safe; must not outlive the database or the snapshot.
class Rows {
 public:
  struct Hints {
    // A long scan: read ahead, leave the cache alone.
    bool bulk = false;
    // Values of a block each: leave the cache alone, and read every block by one call straight to where it stays.
    bool large_values = false;
  };
  Rows(Database& database, Family family, std::string begin, std::string end, const rocksdb::Snapshot* snapshot, Hints hints);
  Rows(Database& database, Family family, std::string begin, std::string end, const rocksdb::Snapshot* snapshot = nullptr)
      : Rows(database, family, std::move(begin), std::move(end), snapshot, Hints{}) {}
  // The iterator points at end_slice_.
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  bool Valid() const { return it_->Valid(); }
  void Next() { it_->Next(); }
  void Seek(absl::string_view key) { it_->Seek(ToSlice(key)); }
  absl::string_view key() const { return ToView(it_->key()); }
  absl::string_view value() const { return ToView(it_->value()); }
  [[nodiscard]] absl::Status status() const { return FromRocks(it_->status()); }

 private:
  const std::string end_;
  const rocksdb::Slice end_slice_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

// Past every key of any family.
inline std::string EndOfKeys() { return std::string(64, '\xff'); }

}  // namespace promptsweep::store
