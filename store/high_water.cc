#include "store/high_water.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

constexpr absl::string_view kMagic = "PSACKMRK";
constexpr uint32_t kVersion = 1;
constexpr size_t kSlotBytes = 4096;
constexpr size_t kUuidBytes = 16;
constexpr size_t kHeadBytes = 8 + 4 + 8 + kUuidBytes + 8 + 4;
constexpr size_t kFileBytes = 1 + 8 + 8 + 8;
// More live logs than RocksDB ever keeps here; the newest count.
constexpr size_t kMaxFiles = 128;
static_assert(kHeadBytes + kMaxFiles * kFileBytes + 8 <= kSlotBytes);
constexpr size_t kReadBytes = 1 << 20;

void PutBig(std::string& out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

uint64_t TakeBig(absl::string_view& in, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint8_t>(in[i]);
  in.remove_prefix(bytes);
  return value;
}

// magic(8) version(4) writes(8) uuid(16) sequence(8) n(4), n times: kind(1) number(8) bytes(8) xxh3(8); then XXH3 of all that.
std::string EncodeMark(const Mark& mark, uint64_t writes) {
  std::string out(kMagic);
  PutBig(out, kVersion, 4);
  PutBig(out, writes, 8);
  out += mark.uuid;
  PutBig(out, mark.sequence, 8);
  PutBig(out, mark.files.size(), 4);
  for (const FileMark& file : mark.files) {
    PutBig(out, static_cast<uint8_t>(file.kind), 1);
    PutBig(out, file.number, 8);
    PutBig(out, file.bytes, 8);
    PutBig(out, file.xxh3, 8);
  }
  PutBig(out, Xxh3(out), 8);
  return out;
}

bool DecodeMark(absl::string_view slot, Mark& mark, uint64_t& writes) {
  const absl::string_view all = slot;
  if (slot.size() < kHeadBytes + 8 || slot.substr(0, kMagic.size()) != kMagic) return false;
  slot.remove_prefix(kMagic.size());
  if (TakeBig(slot, 4) != kVersion) return false;
  writes = TakeBig(slot, 8);
  mark.uuid = std::string(slot.substr(0, kUuidBytes));
  slot.remove_prefix(kUuidBytes);
  mark.sequence = TakeBig(slot, 8);
  const uint64_t files = TakeBig(slot, 4);
  if (files > kMaxFiles || slot.size() < files * kFileBytes + 8) return false;
  mark.files.clear();
  for (uint64_t i = 0; i < files; ++i) {
    FileMark file;
    file.kind = static_cast<FileMark::Kind>(TakeBig(slot, 1));
    file.number = TakeBig(slot, 8);
    file.bytes = TakeBig(slot, 8);
    file.xxh3 = TakeBig(slot, 8);
    mark.files.push_back(file);
  }
  const absl::string_view body = all.substr(0, all.size() - slot.size());
  return TakeBig(slot, 8) == Xxh3(body);
}

std::string NameOf(const FileMark& file) {
  return file.kind == FileMark::Kind::kLog ? absl::StrFormat("%06d.log", file.number)
                                           : absl::StrFormat("MANIFEST-%06d", file.number);
}

absl::Status DiskError(absl::string_view what, const std::string& path) {
  const int error = errno;
  const std::string text = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(absl::StrCat("disk full: ", text));
  return absl::UnavailableError(text);
}

absl::Status WriteAt(int fd, absl::string_view bytes, size_t at, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError("cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(n));
    at += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return DiskError("cannot open", folder);
  const absl::Status status = ::fsync(fd) == 0 ? absl::OkStatus() : DiskError("cannot sync", folder);
  ::close(fd);
  return status;
}

// Whole or not at all: a new file takes the old one's name.
absl::Status WriteMarkFile(const std::string& folder, const std::string& slot) {
  const std::string path = absl::StrCat(folder, "/", kHighWaterFile);
  const std::string temporary = path + ".new";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return DiskError("cannot make", temporary);
  std::string bytes = slot;
  bytes.resize(kSlotBytes);
  // In full, so that later writes need no new blocks.
  bytes = bytes + bytes + bytes;
  absl::Status status = WriteAt(fd, bytes, 0, temporary);
  if (status.ok() && ::fsync(fd) != 0) status = DiskError("cannot sync", temporary);
  ::close(fd);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = DiskError("cannot rename", temporary);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncFolder(folder);
}

// Reads the best slot.
absl::StatusOr<Mark> ReadMark(const std::string& folder, uint64_t& writes, int& slot) {
  const std::string path = absl::StrCat(folder, "/", kHighWaterFile);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? absl::NotFoundError(absl::StrCat("no ", path)) : DiskError("cannot open", path);
  bool any = false;
  Mark best;
  absl::Status error;
  std::string bytes(kSlotBytes, '\0');
  for (int i = 0; i < 3; ++i) {
    const ssize_t n = ::pread(fd, bytes.data(), kSlotBytes, static_cast<off_t>(i * kSlotBytes));
    if (n < 0) error = DiskError("cannot read", path);
    Mark mark;
    uint64_t count = 0;
    if (n <= 0 || !DecodeMark(absl::string_view(bytes.data(), static_cast<size_t>(n)), mark, count)) continue;
    if (any && count <= writes) continue;
    any = true;
    writes = count;
    slot = i;
    best = std::move(mark);
  }
  ::close(fd);
  if (any) return best;
  if (!error.ok()) return error;
  return absl::DataLossError(absl::StrCat(path, " cannot be read"));
}

}  // namespace

absl::Status WriteHighWaterMark(const std::string& folder, absl::string_view uuid, uint64_t sequence) {
  if (uuid.size() != kUuidBytes) return absl::InvalidArgumentError("a store's uuid has 16 bytes");
  Mark mark;
  mark.uuid = std::string(uuid);
  mark.sequence = sequence;
  return WriteMarkFile(folder, EncodeMark(mark, 1));
}

absl::StatusOr<Mark> ReadHighWaterMark(const std::string& folder) {
  uint64_t writes = 0;
  int slot = 0;
  return ReadMark(folder, writes, slot);
}

HighWater::HighWater(Options options) : options_(std::move(options)) {}

HighWater::~HighWater() {
  if (thread_.joinable()) {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    thread_.join();
    absl::MutexLock lock(&sync_mu_);
    (void)SyncNow();
  }
  if (fd_ >= 0) ::close(fd_);
}

absl::Status HighWater::Load(bool accept_loss) {
  accept_loss_ = accept_loss;
  absl::MutexLock lock(&mu_);
  found_ = ReadMark(options_.folder, writes_, slot_);
  if (absl::IsUnavailable(found_.status())) return found_.status();
  if (accept_loss || !found_.ok()) return absl::OkStatus();
  const std::string path = absl::StrCat(options_.folder, "/", kHighWaterFile);
  fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd_ < 0) return DiskError("cannot open", path);
  slot_ = (slot_ + 1) % kSlots;
  mark_.uuid = found_->uuid;
  mark_.sequence = found_->sequence;
  for (const FileMark& file : found_->files) files_[{file.kind, file.number}] = file;
  return absl::OkStatus();
}

absl::Status HighWater::Loss(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat("store ", options_.folder, " lost acknowledged writes: ", what,
                                          "; restore a backup, or open it with --accept-loss to go on with what is there"));
}

absl::Status HighWater::CheckFiles(rocksdb::FileSystem& files) {
  if (!found_.ok() || accept_loss_) return absl::OkStatus();
  std::string current;
  // RocksDB names the harm of a CURRENT file itself.
  (void)rocksdb::ReadFileToString(&files, options_.folder + "/CURRENT", &current);
  for (const FileMark& file : found_->files) {
    const std::string name = NameOf(file);
    if (file.kind == FileMark::Kind::kManifest && current != name + "\n") continue;
    const std::string path = absl::StrCat(options_.folder, "/", name);
    std::unique_ptr<rocksdb::FSSequentialFile> in;
    rocksdb::IOStatus status = files.NewSequentialFile(path, rocksdb::FileOptions(), &in, nullptr);
    if (status.IsNotFound() || status.IsPathNotFound()) return Loss(absl::StrCat(name, " is gone"));
    std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash(XXH3_createState(), XXH3_freeState);
    XXH3_64bits_reset(hash.get());
    std::string buffer(kReadBytes, '\0');
    uint64_t left = file.bytes;
    while (status.ok() && left > 0) {
      rocksdb::Slice piece;
      status = in->Read(std::min<uint64_t>(left, kReadBytes), rocksdb::IOOptions(), &piece, buffer.data(), nullptr);
      if (!status.ok()) break;
      if (piece.empty()) return Loss(absl::StrCat(name, " has ", file.bytes - left, " of ", file.bytes, " bytes"));
      XXH3_64bits_update(hash.get(), piece.data(), piece.size());
      left -= piece.size();
    }
    if (!status.ok()) return absl::UnavailableError(absl::StrCat("cannot read ", path, ": ", status.ToString()));
    if (XXH3_64bits_digest(hash.get()) != file.xxh3) return Loss(absl::StrCat(name, " is harmed"));
  }
  return absl::OkStatus();
}

absl::Status HighWater::CheckNothing() const {
  if (accept_loss_ || absl::IsNotFound(found_.status())) return absl::OkStatus();
  if (!found_.ok()) return Loss("nothing is left, and what was acknowledged cannot be read");
  return Loss(absl::StrCat("write ", found_->sequence, " was acknowledged, nothing is left"));
}

absl::Status HighWater::CheckStore(absl::string_view uuid, uint64_t sequence, uint64_t never_written, bool had_mark) const {
  if (accept_loss_) return absl::OkStatus();
  if (absl::IsNotFound(found_.status())) {
    if (!had_mark || sequence <= never_written) return absl::OkStatus();
    return Loss(absl::StrCat("the file ", kHighWaterFile, " that says how many there were is gone"));
  }
  if (!found_.ok()) return Loss(absl::StrCat("the file ", kHighWaterFile, " that says how many there were cannot be read"));
  if (found_->uuid != uuid) return Loss(absl::StrCat("the file ", kHighWaterFile, " is another store's"));
  if (sequence >= found_->sequence) return absl::OkStatus();
  return Loss(absl::StrCat("write ", found_->sequence, " was acknowledged, the last one there is ", sequence));
}

absl::Status HighWater::Start(absl::string_view uuid, uint64_t sequence) {
  absl::MutexLock lock(&mu_);
  mark_.uuid = std::string(uuid);
  mark_.sequence = sequence;
  if (fd_ < 0) {
    PS_RETURN_IF_ERROR(WriteMarkFile(options_.folder, EncodeMark(mark_, ++writes_)));
    const std::string path = absl::StrCat(options_.folder, "/", kHighWaterFile);
    fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ < 0) return DiskError("cannot open", path);
  }
  PS_RETURN_IF_ERROR(WriteSlot());
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

absl::Status HighWater::WriteSlot() {
  Mark mark{mark_.uuid, mark_.sequence, {}};
  for (const auto& [key, file] : files_) mark.files.push_back(file);
  if (mark.files.size() > kMaxFiles) mark.files.erase(mark.files.begin(), mark.files.end() - kMaxFiles);
  dirty_ = true;
  return WriteAt(fd_, EncodeMark(mark, ++writes_), static_cast<size_t>(slot_) * kSlotBytes, kHighWaterFile);
}

absl::Status HighWater::Acknowledge(uint64_t sequence) {
  absl::MutexLock lock(&mu_);
  for (const auto& [key, file] : synced_) files_[key] = file;
  synced_.clear();
  mark_.sequence = std::max(mark_.sequence, sequence);
  return WriteSlot();
}

uint64_t HighWater::acknowledged() const {
  absl::MutexLock lock(&mu_);
  return mark_.sequence;
}

void HighWater::Synced(const FileMark& file) {
  absl::MutexLock lock(&mu_);
  const FileKey key{file.kind, file.number};
  if (file.kind == FileMark::Kind::kLog) {
    // Its folder may not be synced yet, so it counts only with the next acknowledgement.
    synced_[key] = file;
    return;
  }
  files_[key] = file;
  // A missed one only weakens the mark.
  if (fd_ >= 0) (void)WriteSlot();
}

absl::Status HighWater::Deleting(FileMark::Kind kind, uint64_t number) {
  absl::MutexLock sync(&sync_mu_);
  {
    absl::MutexLock lock(&mu_);
    const FileKey key{kind, number};
    synced_.erase(key);
    if (files_.erase(key) == 0 || fd_ < 0 || kind == FileMark::Kind::kManifest) return absl::OkStatus();
  }
  // A mark that still names the log would call its absence a loss.
  return WriteEverySlot();
}

absl::Status HighWater::WriteEverySlot() {
  for (int i = 0; i < kSlots; ++i) {
    {
      absl::MutexLock lock(&mu_);
      PS_RETURN_IF_ERROR(WriteSlot());
    }
    PS_RETURN_IF_ERROR(SyncNow());
  }
  return absl::OkStatus();
}

absl::Status HighWater::SyncNow() {
  {
    absl::MutexLock lock(&mu_);
    if (!dirty_) return absl::OkStatus();
    dirty_ = false;
    // The next writes leave this slot and the durable one alone.
    slot_ = (slot_ + 1) % kSlots;
  }
  if (::fdatasync(fd_) != 0) return DiskError("cannot sync", absl::StrCat(options_.folder, "/", kHighWaterFile));
  return absl::OkStatus();
}

void HighWater::Run() {
  while (true) {
    {
      const auto stop = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopping_; };
      const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopping_ || dirty_; };
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&work));
      if (mu_.AwaitWithTimeout(absl::Condition(&stop), options_.sync_interval)) return;
    }
    absl::MutexLock sync(&sync_mu_);
    const absl::Status status = SyncNow();
    if (status.ok()) continue;
    // Never retried, as every failed sync.
    if (options_.on_error) options_.on_error(status);
    return;
  }
}

}  // namespace promptsweep::store
