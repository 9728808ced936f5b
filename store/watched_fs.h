// The file system under RocksDB, watched: it counts what is written to which kind of file, and tells a HighWater what logs and
// manifests hold after each sync and which of them go.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>

#include "store/high_water.h"

namespace promptsweep::store {

// Thread-safe. `high_water` must outlive every file; it hears of the logs and manifests of `folder` only, not of copies
// elsewhere.
class WatchedFs final : public rocksdb::FileSystemWrapper {
 public:
  enum class Kind { kLog, kTable, kBlob, kManifest, kOther };

  WatchedFs(std::shared_ptr<rocksdb::FileSystem> target, std::string folder, HighWater& high_water)
      : rocksdb::FileSystemWrapper(std::move(target)), folder_(std::move(folder)), high_water_(high_water) {}
  static const char* kClassName() { return "WatchedFs"; }
  const char* Name() const override { return kClassName(); }

  // Bytes appended to files of that kind so far.
  uint64_t written(Kind kind) const { return written_[static_cast<size_t>(kind)]; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  // A log or a manifest of the folder. Sets the mark's kind and number.
  bool IsMarked(const std::string& path, FileMark& mark) const;

  const std::string folder_;
  HighWater& high_water_;
  std::atomic<uint64_t> written_[5] = {};
};

}  // namespace promptsweep::store
