// A file system that fails on cue and remembers what is durable: bytes after a file's last successful sync, and files whose
// folder was not synced since they were made, are lost in a power cut. Renames and deletions count as durable at once.
#pragma once

#include <rocksdb/file_system.h>

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::store {

// Thread-safe.
class FaultFs final : public rocksdb::FileSystemWrapper {
 public:
  enum class Op { kAppend, kSync };

  FaultFs() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "FaultFs"; }
  const char* Name() const override { return kClassName(); }

  // From the nth `op` on (1 is the next), every append and sync fails with `error`.
  void FailFrom(Op op, int nth, rocksdb::IOStatus error) ABSL_LOCKS_EXCLUDED(mu_);
  // What GetFreeSpace answers; the truth until set.
  void SetFreeSpace(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  int count(Op op) const ABSL_LOCKS_EXCLUDED(mu_);
  // Copies what would be there after a power cut now.
  void CopyDurable(const std::string& from, const std::string& to) ABSL_LOCKS_EXCLUDED(mu_);

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
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options, uint64_t* free,
                                 rocksdb::IODebugContext* debug) override;

 private:
  friend class FaultFile;
  friend class FaultDirectory;
  struct File {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool entry_synced = false;
  };
  // Counts an operation; an error where it is to fail.
  rocksdb::IOStatus Begin(Op op) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::map<std::string, File> files_ ABSL_GUARDED_BY(mu_);
  int counts_[2] ABSL_GUARDED_BY(mu_) = {0, 0};
  int fail_at_[2] ABSL_GUARDED_BY(mu_) = {0, 0};
  bool failing_ ABSL_GUARDED_BY(mu_) = false;
  rocksdb::IOStatus error_ ABSL_GUARDED_BY(mu_);
  uint64_t free_space_ ABSL_GUARDED_BY(mu_) = 0;
  bool free_space_set_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace promptsweep::store
