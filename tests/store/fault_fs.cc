#include "tests/store/fault_fs.h"

#include <rocksdb/env.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/store/fault_files.h"

namespace promptsweep::store {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

std::string ReadWhole(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

class NoLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
  size_t GetLogFileSize() const override { return 0; }
};

}  // namespace

IOStatus FaultFs::Refusal(Op op) {
  const size_t which = static_cast<size_t>(op);
  ++counts_[which];
  ++asked_;
  if (fail_from_[which] != 0 && counts_[which] >= fail_from_[which]) failing_ = true;
  if (fail_from_change_ != 0 && asked_ >= fail_from_change_) failing_ = true;
  if (failing_ || (fail_once_[which] != 0 && counts_[which] == fail_once_[which])) return error_;
  return IOStatus::OK();
}

IOStatus FaultFs::UseSpace(const DiskModel::Change& change) {
  if (!free_space_) return IOStatus::OK();
  if (change.kind == Op::kAppend) {
    if (change.bytes.size() > *free_space_) return IOStatus::NoSpace("injected");
    *free_space_ -= change.bytes.size();
  }
  const std::string& goes = change.kind == Op::kRename ? change.to : change.path;
  if ((change.kind == Op::kDelete || change.kind == Op::kRename) && model_.Has(goes)) *free_space_ += model_.SizeOf(goes);
  return IOStatus::OK();
}

template <typename Call>
IOStatus FaultFs::Change(DiskModel::Change change, Call call, DiskModel::Id* made) {
  if (folder_.empty() && change.kind == Op::kCreate) folder_ = std::filesystem::path(change.path).parent_path();
  LookOutside();
  IOStatus status = Refusal(change.kind);
  if (status.ok()) status = UseSpace(change);
  if (status.ok()) status = call();
  if (change.kind == Op::kSync && unsynced_.contains(change.file)) ++retried_syncs_;
  if (change.kind == Op::kSync && !status.ok()) unsynced_.insert(change.file);
  if (!status.ok()) return status;
  const DiskModel::Id id = model_.Apply(change);
  if (made) *made = id;
  trace_.push_back(std::move(change));
  return status;
}

void FaultFs::LookOutside() {
  for (const char* name : kOutside) {
    const std::string path = absl::StrCat(folder_, "/", name);
    if (!std::filesystem::exists(path)) continue;
    std::string bytes = ReadWhole(path);
    if (bytes == outside_[path]) continue;
    outside_[path] = bytes;
    DiskModel::Change change{.kind = Op::kOutside, .path = path, .bytes = std::move(bytes)};
    model_.Apply(change);
    trace_.push_back(std::move(change));
  }
}

void FaultFs::Adopt(const std::string& name) {
  if (!model_.Knows(name) && std::filesystem::exists(name)) model_.Adopt(name, ReadWhole(name));
}

void FaultFs::FailFrom(Op op, int nth, IOStatus error) {
  absl::MutexLock lock(&mu_);
  fail_from_[static_cast<size_t>(op)] = counts_[static_cast<size_t>(op)] + nth;
  error_ = std::move(error);
}

void FaultFs::FailFromChange(uint64_t nth, IOStatus error) {
  absl::MutexLock lock(&mu_);
  fail_from_change_ = asked_ + nth;
  error_ = std::move(error);
}

void FaultFs::FailOnce(Op op, int nth, IOStatus error) {
  absl::MutexLock lock(&mu_);
  fail_once_[static_cast<size_t>(op)] = counts_[static_cast<size_t>(op)] + nth;
  error_ = std::move(error);
}

void FaultFs::Heal() {
  absl::MutexLock lock(&mu_);
  fail_from_.fill(0);
  fail_once_.fill(0);
  fail_from_change_ = 0;
  failing_ = false;
}

void FaultFs::SetFreeSpace(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  free_space_ = bytes;
}

void FaultFs::BeforeSync(std::function<void()> hook) {
  absl::MutexLock lock(&mu_);
  before_sync_ = std::move(hook);
}

void FaultFs::RunHook() {
  std::function<void()> hook;
  {
    absl::MutexLock lock(&mu_);
    hook = before_sync_;
  }
  if (hook) hook();
}

void FaultFs::FlipOnRead(std::string ending, uint64_t at, int bit) {
  absl::MutexLock lock(&mu_);
  flips_.push_back({std::move(ending), at, bit});
}

bool FaultFs::IsFlipped(const std::string& name) const {
  absl::MutexLock lock(&mu_);
  return std::any_of(flips_.begin(), flips_.end(), [&](const Flip& flip) { return absl::EndsWith(name, flip.ending); });
}

void FaultFs::Harm(const std::string& name, uint64_t offset, char* scratch, rocksdb::Slice* bytes) const {
  absl::MutexLock lock(&mu_);
  for (const Flip& flip : flips_) {
    if (!absl::EndsWith(name, flip.ending) || flip.at < offset || flip.at >= offset + bytes->size()) continue;
    if (bytes->data() != scratch) std::copy_n(bytes->data(), bytes->size(), scratch);
    *bytes = rocksdb::Slice(scratch, bytes->size());
    scratch[flip.at - offset] = static_cast<char>(scratch[flip.at - offset] ^ (1 << flip.bit));
  }
}

int FaultFs::count(Op op) const {
  absl::MutexLock lock(&mu_);
  return counts_[static_cast<size_t>(op)];
}

int FaultFs::retried_syncs() const {
  absl::MutexLock lock(&mu_);
  return retried_syncs_;
}

uint64_t FaultFs::changes() const {
  absl::MutexLock lock(&mu_);
  return trace_.size();
}

std::vector<DiskModel::Change> FaultFs::trace() const {
  absl::MutexLock lock(&mu_);
  return trace_;
}

void FaultFs::CopyDurable(const std::string& from, const std::string& to, Cut cut, uint64_t seed) {
  namespace fs = std::filesystem;
  absl::MutexLock lock(&mu_);
  LookOutside();
  std::mt19937_64 random(seed);
  Files files;
  for (auto& [path, bytes] : model_.After(cut, random)) {
    if (fs::path(path).parent_path() == fs::path(from)) files[path] = std::move(bytes);
  }
  for (const auto& entry : fs::directory_iterator(from)) {
    if (entry.is_regular_file() && !model_.Knows(entry.path())) files[entry.path()] = ReadWhole(entry.path());
  }
  WriteFiles(files, to);
}

IOStatus FaultFs::NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSSequentialFile>* file, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewSequentialFile(name, options, file, debug);
  if (status.ok() && IsFlipped(name)) *file = std::make_unique<FlippedSequentialFile>(*this, name, std::move(*file));
  return status;
}

IOStatus FaultFs::NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSRandomAccessFile>* file, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewRandomAccessFile(name, options, file, debug);
  if (status.ok() && IsFlipped(name)) *file = std::make_unique<FlippedRandomAccessFile>(*this, name, std::move(*file));
  return status;
}

IOStatus FaultFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                  std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  if (absl::StrContains(name, "/OPTIONS-")) return IOStatus::NotSupported("no options files");
  absl::MutexLock lock(&mu_);
  Adopt(name);
  std::unique_ptr<rocksdb::FSWritableFile> inner;
  DiskModel::Id id = 0;
  IOStatus status = Change(
      {.kind = Op::kCreate, .path = name}, [&] { return FileSystemWrapper::NewWritableFile(name, options, &inner, debug); }, &id);
  if (status.ok()) *file = std::make_unique<FaultFile>(*this, id, std::move(inner));
  return status;
}

IOStatus FaultFs::ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                     std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  {
    absl::MutexLock lock(&mu_);
    Adopt(name);
    if (model_.Has(name)) {
      std::unique_ptr<rocksdb::FSWritableFile> inner;
      IOStatus status = FileSystemWrapper::ReopenWritableFile(name, options, &inner, debug);
      if (status.ok()) *file = std::make_unique<FaultFile>(*this, model_.Find(name), std::move(inner));
      return status;
    }
  }
  return NewWritableFile(name, options, file, debug);
}

IOStatus FaultFs::NewDirectory(const std::string& name, const IOOptions& options,
                               std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> inner;
  IOStatus status = FileSystemWrapper::NewDirectory(name, options, &inner, debug);
  if (status.ok()) *directory = std::make_unique<FaultFolder>(*this, name, std::move(inner));
  return status;
}

IOStatus FaultFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&mu_);
  Adopt(from);
  Adopt(to);
  return Change({.kind = Op::kRename, .path = from, .to = to},
                [&] { return FileSystemWrapper::RenameFile(from, to, options, debug); });
}

IOStatus FaultFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&mu_);
  Adopt(name);
  return Change({.kind = Op::kDelete, .path = name}, [&] { return FileSystemWrapper::DeleteFile(name, options, debug); });
}

IOStatus FaultFs::Truncate(const std::string& name, size_t size, const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&mu_);
  Adopt(name);
  if (!model_.Has(name)) return IOStatus::NotFound(name);
  return Change({.kind = Op::kTruncate, .file = model_.Find(name), .size = size},
                [&] { return FileSystemWrapper::Truncate(name, size, options, debug); });
}

IOStatus FaultFs::NewLogger(const std::string&, const IOOptions&, std::shared_ptr<rocksdb::Logger>* logger, IODebugContext*) {
  *logger = std::make_shared<NoLogger>();
  return IOStatus::OK();
}

IOStatus FaultFs::GetFreeSpace(const std::string& path, const IOOptions& options, uint64_t* free, IODebugContext* debug) {
  {
    absl::MutexLock lock(&mu_);
    if (free_space_) {
      *free = *free_space_;
      return IOStatus::OK();
    }
  }
  return FileSystemWrapper::GetFreeSpace(path, options, free, debug);
}

IOStatus FaultFile::Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&fs_.mu_);
  return fs_.Change({.kind = FaultFs::Op::kAppend, .file = id_, .bytes = data.ToString()},
                    [&] { return FSWritableFileOwnerWrapper::Append(data, options, debug); });
}

IOStatus FaultFile::Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&fs_.mu_);
  return fs_.Change({.kind = FaultFs::Op::kTruncate, .file = id_, .size = size},
                    [&] { return FSWritableFileOwnerWrapper::Truncate(size, options, debug); });
}

IOStatus FaultFile::Sync(const IOOptions& options, IODebugContext* debug) {
  fs_.RunHook();
  absl::MutexLock lock(&fs_.mu_);
  return fs_.Change({.kind = FaultFs::Op::kSync, .file = id_}, [&] { return FSWritableFileOwnerWrapper::Sync(options, debug); });
}

IOStatus FaultFolder::Fsync(const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&fs_.mu_);
  return fs_.Change({.kind = FaultFs::Op::kSyncFolder, .path = name_}, [&] { return FSDirectoryWrapper::Fsync(options, debug); });
}

IOStatus FlippedSequentialFile::Read(size_t n, const IOOptions& options, rocksdb::Slice* result, char* scratch,
                                     IODebugContext* debug) {
  IOStatus status = FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, debug);
  if (status.ok()) fs_.Harm(name_, offset_, scratch, result);
  offset_ += result->size();
  return status;
}

IOStatus FlippedRandomAccessFile::Read(uint64_t offset, size_t n, const IOOptions& options, rocksdb::Slice* result, char* scratch,
                                       IODebugContext* debug) const {
  IOStatus status = FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, debug);
  if (status.ok()) fs_.Harm(name_, offset, scratch, result);
  return status;
}

void WriteFiles(const Files& files, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::create_directories(to);
  for (const auto& [path, bytes] : files) {
    std::ofstream stream(to + "/" + std::filesystem::path(path).filename().string(), std::ios::binary);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    PS_CHECK(stream.good());
  }
}

}  // namespace promptsweep::store
