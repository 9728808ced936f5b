#include "tests/store/fault_fs.h"

#include <filesystem>

namespace promptsweep::store {

using rocksdb::DataVerificationInfo;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultFile(FaultFs& fs, std::string name, std::unique_ptr<rocksdb::FSWritableFile> file)
      : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), fs_(fs), name_(std::move(name)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_.mu_);
    return Count(data.size(), [&] { return FSWritableFileOwnerWrapper::Append(data, options, debug); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_.mu_);
    return Count(data.size(), [&] { return FSWritableFileOwnerWrapper::Append(data, options, info, debug); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_.mu_);
    return Settle([&] { return FSWritableFileOwnerWrapper::Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_.mu_);
    return Settle([&] { return FSWritableFileOwnerWrapper::Fsync(options, debug); });
  }

 private:
  template <typename Call>
  IOStatus Count(size_t bytes, Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_.mu_) {
    IOStatus status = fs_.Begin(FaultFs::Op::kAppend);
    if (status.ok()) status = call();
    if (status.ok()) fs_.files_[name_].size += bytes;
    return status;
  }
  template <typename Call>
  IOStatus Settle(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_.mu_) {
    IOStatus status = fs_.Begin(FaultFs::Op::kSync);
    if (status.ok()) status = call();
    if (status.ok()) fs_.files_[name_].synced = fs_.files_[name_].size;
    return status;
  }

  FaultFs& fs_;
  const std::string name_;
};

class FaultDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(FaultFs& fs, std::string name, std::unique_ptr<rocksdb::FSDirectory> directory)
      : rocksdb::FSDirectoryWrapper(std::move(directory)), fs_(fs), name_(std::move(name)) {}
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_.mu_);
    return Settle([&] { return FSDirectoryWrapper::Fsync(options, debug); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug, const rocksdb::DirFsyncOptions& how) override {
    absl::MutexLock lock(&fs_.mu_);
    return Settle([&] { return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how); });
  }

 private:
  template <typename Call>
  IOStatus Settle(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_.mu_) {
    IOStatus status = fs_.Begin(FaultFs::Op::kSync);
    if (status.ok()) status = call();
    if (!status.ok()) return status;
    for (auto& [name, file] : fs_.files_) {
      if (std::filesystem::path(name).parent_path() == name_) file.entry_synced = true;
    }
    return status;
  }

  FaultFs& fs_;
  const std::filesystem::path name_;
};

IOStatus FaultFs::Begin(Op op) {
  const int which = static_cast<int>(op);
  ++counts_[which];
  if (fail_at_[which] != 0 && counts_[which] >= fail_at_[which]) failing_ = true;
  return failing_ ? error_ : IOStatus::OK();
}

void FaultFs::FailFrom(Op op, int nth, IOStatus error) {
  absl::MutexLock lock(&mu_);
  fail_at_[static_cast<int>(op)] = counts_[static_cast<int>(op)] + nth;
  error_ = std::move(error);
}

void FaultFs::SetFreeSpace(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  free_space_ = bytes;
  free_space_set_ = true;
}

int FaultFs::count(Op op) const {
  absl::MutexLock lock(&mu_);
  return counts_[static_cast<int>(op)];
}

void FaultFs::CopyDurable(const std::string& from, const std::string& to) {
  namespace fs = std::filesystem;
  absl::MutexLock lock(&mu_);
  fs::remove_all(to);
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    if (!entry.is_regular_file()) continue;
    const fs::path target = fs::path(to) / entry.path().filename();
    const auto it = files_.find(entry.path().string());
    if (it != files_.end() && !it->second.entry_synced) continue;
    fs::copy_file(entry.path(), target);
    if (it != files_.end()) fs::resize_file(target, it->second.synced);
  }
}

IOStatus FaultFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                  std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> inner;
  IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &inner, debug);
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    files_[name] = File();
  }
  *file = std::make_unique<FaultFile>(*this, name, std::move(inner));
  return status;
}

IOStatus FaultFs::ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                     std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> inner;
  IOStatus status = FileSystemWrapper::ReopenWritableFile(name, options, &inner, debug);
  if (!status.ok()) return status;
  *file = std::make_unique<FaultFile>(*this, name, std::move(inner));
  return status;
}

IOStatus FaultFs::NewDirectory(const std::string& name, const IOOptions& options,
                               std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> inner;
  IOStatus status = FileSystemWrapper::NewDirectory(name, options, &inner, debug);
  if (!status.ok()) return status;
  *directory = std::make_unique<FaultDirectory>(*this, name, std::move(inner));
  return status;
}

IOStatus FaultFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::RenameFile(from, to, options, debug);
  absl::MutexLock lock(&mu_);
  if (const auto it = files_.find(from); status.ok() && it != files_.end()) {
    File file = it->second;
    file.entry_synced = true;
    files_.erase(it);
    files_[to] = file;
  }
  return status;
}

IOStatus FaultFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::DeleteFile(name, options, debug);
  absl::MutexLock lock(&mu_);
  if (status.ok()) files_.erase(name);
  return status;
}

IOStatus FaultFs::GetFreeSpace(const std::string& path, const IOOptions& options, uint64_t* free, IODebugContext* debug) {
  {
    absl::MutexLock lock(&mu_);
    if (free_space_set_) {
      *free = free_space_;
      return IOStatus::OK();
    }
  }
  return FileSystemWrapper::GetFreeSpace(path, options, free, debug);
}

}  // namespace promptsweep::store
