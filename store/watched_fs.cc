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

WatchedFs::Kind KindOf(const std::string& path, uint64_t& number) {
  absl::string_view name = path;
  name.remove_prefix(name.rfind('/') + 1);
  if (absl::EndsWith(name, ".sst")) return WatchedFs::Kind::kTable;
  if (absl::EndsWith(name, ".blob")) return WatchedFs::Kind::kBlob;
  if (absl::ConsumeSuffix(&name, ".log") && absl::SimpleAtoi(name, &number)) return WatchedFs::Kind::kLog;
  if (absl::ConsumePrefix(&name, "MANIFEST-") && absl::SimpleAtoi(name, &number)) return WatchedFs::Kind::kManifest;
  return WatchedFs::Kind::kOther;
}

absl::string_view WithoutSlashes(absl::string_view folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.remove_suffix(1);
  return folder;
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
  MarkedFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::atomic<uint64_t>& written, HighWater& high_water, FileMark mark)
      : CountedFile(std::move(file), written), high_water_(high_water), mark_(mark), hash_(XXH3_createState(), XXH3_freeState) {
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

bool WatchedFs::IsMarked(const std::string& path, FileMark& mark) const {
  const Kind kind = KindOf(path, mark.number);
  if (kind != Kind::kLog && kind != Kind::kManifest) return false;
  mark.kind = kind == Kind::kLog ? FileMark::Kind::kLog : FileMark::Kind::kManifest;
  const size_t slash = path.rfind('/');
  return slash != std::string::npos && WithoutSlashes(absl::string_view(path).substr(0, slash + 1)) == WithoutSlashes(folder_);
}

IOStatus WatchedFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> inner;
  IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &inner, debug);
  if (!status.ok()) return status;
  FileMark mark;
  std::atomic<uint64_t>& written = written_[static_cast<size_t>(KindOf(name, mark.number))];
  if (IsMarked(name, mark)) {
    *file = std::make_unique<MarkedFile>(std::move(inner), written, high_water_, mark);
  } else {
    *file = std::make_unique<CountedFile>(std::move(inner), written);
  }
  return status;
}

IOStatus WatchedFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  FileMark mark;
  if (IsMarked(name, mark)) {
    const absl::Status status = high_water_.Deleting(mark.kind, mark.number);
    if (!status.ok()) return IOStatus::IOError(std::string(status.message()));
  }
  return FileSystemWrapper::DeleteFile(name, options, debug);
}

}  // namespace promptsweep::store
