#include "store/watched_fs.h"

#include <xxhash.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace promptsweep::store {
namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// `number` is set for logs and manifests.
WatchedFs::Kind KindOf(const std::string& path, uint64_t& number) {
  absl::string_view name = path;
  name.remove_prefix(name.rfind('/') + 1);
  if (absl::EndsWith(name, ".sst")) return WatchedFs::Kind::kTable;
  if (absl::EndsWith(name, ".blob")) return WatchedFs::Kind::kBlob;
  if (absl::ConsumeSuffix(&name, ".log") && absl::SimpleAtoi(name, &number)) return WatchedFs::Kind::kLog;
  if (absl::ConsumePrefix(&name, "MANIFEST-") && absl::SimpleAtoi(name, &number)) return WatchedFs::Kind::kManifest;
  return WatchedFs::Kind::kOther;
}

class CountedFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  CountedFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::atomic<uint64_t>& written)
      : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), written_(written) {}
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return Count(data, FSWritableFileOwnerWrapper::Append(data, options, debug));
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info, IODebugContext* debug) override {
    return Count(data, FSWritableFileOwnerWrapper::Append(data, options, info, debug));
  }

 protected:
  virtual void Appended(const Slice&) {}

 private:
  IOStatus Count(const Slice& data, IOStatus status) {
    if (status.ok()) {
      written_ += data.size();
      Appended(data);
    }
    return status;
  }
  std::atomic<uint64_t>& written_;
};

// A log or a manifest. RocksDB writes and syncs one from one thread at a time.
class MarkedFile final : public CountedFile {
 public:
  MarkedFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::atomic<uint64_t>& written, HighWater& high_water,
             FileMark::Kind kind, uint64_t number)
      : CountedFile(std::move(file), written), high_water_(high_water), hash_(XXH3_createState(), XXH3_freeState) {
    mark_.kind = kind;
    mark_.number = number;
    XXH3_64bits_reset(hash_.get());
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override { return Tell(CountedFile::Sync(options, debug)); }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Tell(CountedFile::Fsync(options, debug)); }

 private:
  void Appended(const Slice& data) override {
    mark_.bytes += data.size();
    XXH3_64bits_update(hash_.get(), data.data(), data.size());
  }
  IOStatus Tell(IOStatus status) {
    if (status.ok()) {
      mark_.xxh3 = XXH3_64bits_digest(hash_.get());
      high_water_.Synced(mark_);
    }
    return status;
  }

  HighWater& high_water_;
  FileMark mark_;
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash_;
};

}  // namespace

IOStatus WatchedFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> inner;
  IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &inner, debug);
  if (!status.ok()) return status;
  uint64_t number = 0;
  const Kind kind = KindOf(name, number);
  std::atomic<uint64_t>& written = written_[static_cast<size_t>(kind)];
  if (kind == Kind::kLog || kind == Kind::kManifest) {
    const FileMark::Kind mark = kind == Kind::kLog ? FileMark::Kind::kLog : FileMark::Kind::kManifest;
    *file = std::make_unique<MarkedFile>(std::move(inner), written, high_water_, mark, number);
  } else {
    *file = std::make_unique<CountedFile>(std::move(inner), written);
  }
  return status;
}

IOStatus WatchedFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  uint64_t number = 0;
  const Kind kind = KindOf(name, number);
  if (kind == Kind::kLog || kind == Kind::kManifest) {
    const absl::Status status =
        high_water_.Deleting(kind == Kind::kLog ? FileMark::Kind::kLog : FileMark::Kind::kManifest, number);
    if (!status.ok()) return IOStatus::IOError(std::string(status.message()));
  }
  return FileSystemWrapper::DeleteFile(name, options, debug);
}

}  // namespace promptsweep::store
