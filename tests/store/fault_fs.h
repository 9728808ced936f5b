// RocksDB's file system with faults on cue. What it does is done on the machine's file system and in a DiskModel beside it, so
// that at any moment it can say what a power cut would leave.
#pragma once

#include <rocksdb/file_system.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/store/disk_model.h"

namespace promptsweep::store {

// Thread-safe. Changes are numbered from 1 in the order in which they happen. RocksDB's log of what it does (LOG) and its copies
// of the options are not written: nothing reads them, and they would be most of the cost of an opening. Nothing is
// preallocated.
class FaultFs final : public rocksdb::FileSystemWrapper {
 public:
  using Op = DiskModel::Change::Kind;
  using Cut = DiskModel::Cut;

  FaultFs() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "FaultFs"; }
  const char* Name() const override { return kClassName(); }

  // From the nth `op` on (1 is the next), every change fails with `error`.
  void FailFrom(Op op, int nth, rocksdb::IOStatus error) ABSL_LOCKS_EXCLUDED(mu_);
  // Likewise from the nth change of any kind.
  void FailFromChange(uint64_t nth, rocksdb::IOStatus error) ABSL_LOCKS_EXCLUDED(mu_);
  // Only the nth `op` fails.
  void FailOnce(Op op, int nth, rocksdb::IOStatus error) ABSL_LOCKS_EXCLUDED(mu_);
  // No change fails any more.
  void Heal() ABSL_LOCKS_EXCLUDED(mu_);
  // What is free from now on: appends use it up and then fail with NoSpace, deletions give it back. Until set, the truth.
  void SetFreeSpace(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // Called before every sync of a file, with no lock held: a slow disk is one whose hook waits. Null: none.
  void BeforeSync(std::function<void()> hook) ABSL_LOCKS_EXCLUDED(mu_);
  // Whoever reads byte `at` of a file whose path ends with `ending` gets it with this bit flipped.
  void FlipOnRead(std::string ending, uint64_t at, int bit) ABSL_LOCKS_EXCLUDED(mu_);

  int count(Op op) const ABSL_LOCKS_EXCLUDED(mu_);
  // Syncs of a file that were asked for after one of it had failed.
  int retried_syncs() const ABSL_LOCKS_EXCLUDED(mu_);
  // Changes made so far, all kinds, files written past this object included, without failed ones.
  uint64_t changes() const ABSL_LOCKS_EXCLUDED(mu_);
  // Every change made so far.
  std::vector<DiskModel::Change> trace() const ABSL_LOCKS_EXCLUDED(mu_);
  // Writes what a power cut now would leave of folder `from` into the new folder `to`. Files that were not written through
  // this object are copied as they are.
  void CopyDurable(const std::string& from, const std::string& to, Cut cut = Cut::kDurable, uint64_t seed = 0)
      ABSL_LOCKS_EXCLUDED(mu_);

  rocksdb::IOStatus NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus Truncate(const std::string& name, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewLogger(const std::string& name, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* logger, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options, uint64_t* free,
                                 rocksdb::IODebugContext* debug) override;

 private:
  friend class FaultFile;
  friend class FaultFolder;
  friend class FlippedSequentialFile;
  friend class FlippedRandomAccessFile;
  static constexpr size_t kOps = 8;
  // Files of a store's folder that it writes past RocksDB's file system and that a crash must be shown with: the mark of what
  // was acknowledged. They are looked at before every change.
  static constexpr const char* kOutside[] = {"acknowledged"};
  struct Flip {
    std::string ending;
    uint64_t at = 0;
    int bit = 0;
  };

  // Does one change on the machine and in the model, or fails it.
  template <typename Call>
  rocksdb::IOStatus Change(DiskModel::Change change, Call call, DiskModel::Id* made = nullptr) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  rocksdb::IOStatus Refusal(Op op) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  rocksdb::IOStatus UseSpace(const DiskModel::Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the files written past this object into the trace where they changed.
  void LookOutside() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the model know a file that was there before.
  void Adopt(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunHook() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsFlipped(const std::string& name) const ABSL_LOCKS_EXCLUDED(mu_);
  // Flips what is to be flipped in bytes read from `offset` on; they may be moved to `scratch`.
  void Harm(const std::string& name, uint64_t offset, char* scratch, rocksdb::Slice* bytes) const ABSL_LOCKS_EXCLUDED(mu_);

  mutable absl::Mutex mu_;
  DiskModel model_ ABSL_GUARDED_BY(mu_);
  std::vector<DiskModel::Change> trace_ ABSL_GUARDED_BY(mu_);
  std::array<int, kOps> counts_ ABSL_GUARDED_BY(mu_){};
  std::array<int, kOps> fail_from_ ABSL_GUARDED_BY(mu_){};
  std::array<int, kOps> fail_once_ ABSL_GUARDED_BY(mu_){};
  std::set<DiskModel::Id> unsynced_ ABSL_GUARDED_BY(mu_);  // a sync of these failed
  int retried_syncs_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t asked_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t fail_from_change_ ABSL_GUARDED_BY(mu_) = 0;
  bool failing_ ABSL_GUARDED_BY(mu_) = false;
  rocksdb::IOStatus error_ ABSL_GUARDED_BY(mu_);
  std::optional<uint64_t> free_space_ ABSL_GUARDED_BY(mu_);
  std::function<void()> before_sync_ ABSL_GUARDED_BY(mu_);
  std::vector<Flip> flips_ ABSL_GUARDED_BY(mu_);
  Files outside_ ABSL_GUARDED_BY(mu_);
  std::string folder_ ABSL_GUARDED_BY(mu_);  // of the first file made
};

// Writes each file of `files` into the new folder `to`, under its bare name.
void WriteFiles(const Files& files, const std::string& to);

}  // namespace promptsweep::store
