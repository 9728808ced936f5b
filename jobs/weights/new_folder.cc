#include "jobs/weights/new_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace promptsweep::weights {

namespace fs = std::filesystem;

namespace {

absl::Status CannotBeWritten(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(path, " cannot be written: ", why));
}

// Some file systems know no sync and need none.
bool Sync(int fd) { return ::fsync(fd) == 0 || errno == EINVAL || errno == EROFS; }

bool SyncFolder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool synced = Sync(fd);
  ::close(fd);
  return synced;
}

bool IsSame(int fd, const std::string& path) {
  struct stat a, b;
  return ::fstat(fd, &a) == 0 && ::lstat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

absl::Status Exists(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(path, " exists already; nothing is overwritten"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NewFile>> NewFile::Create(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return CannotBeWritten(path, std::strerror(errno));
  return std::unique_ptr<NewFile>(new NewFile(path, fd));
}

NewFile::~NewFile() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status NewFile::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed();
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status NewFile::Finish() {
  if (!Sync(fd_)) return Failed();
  const int fd = std::exchange(fd_, -1);
  return ::close(fd) == 0 ? absl::OkStatus() : Failed();
}

absl::Status NewFile::Failed() {
  failed_ = CannotBeWritten(path_, std::strerror(errno));
  return failed_;
}

absl::StatusOr<std::unique_ptr<NewFolder>> NewFolder::Create(const std::string& path) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (target.filename() == "." || target.filename() == ".." || target.filename().empty())
    return CannotBeWritten(path, "not a new folder");
  std::error_code error;
  if (fs::exists(fs::symlink_status(target, error))) return Exists(path);
  const std::string part = (target.parent_path() / absl::StrCat(".", target.filename().string(), ".part")).string();
  if (::mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) return CannotBeWritten(path, std::strerror(errno));
  const int lock = ::open(part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock < 0) return CannotBeWritten(part, std::strerror(errno));
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0 || !IsSame(lock, part)) {
    ::close(lock);
    return CannotBeWritten(path, "another process is writing it");
  }
  std::unique_ptr<NewFolder> folder(new NewFolder(target.string(), part, lock));
  for (const fs::directory_entry& left : fs::directory_iterator(part, error)) {
    fs::remove_all(left.path(), error);
    if (error) return CannotBeWritten(left.path().string(), error.message());
  }
  return folder;
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!finished_) fs::remove_all(part_, ignored);
  ::close(lock_);
}

absl::StatusOr<std::string> NewFolder::Place(const std::string& name) {
  const fs::path place = fs::path(part_) / name;
  std::error_code error;
  fs::create_directories(place.parent_path(), error);
  if (error) return CannotBeWritten(place.parent_path().string(), error.message());
  return place.string();
}

absl::Status NewFolder::Write(const std::string& name, absl::string_view content) {
  PS_ASSIGN_OR_RETURN(const std::string place, Place(name));
  PS_ASSIGN_OR_RETURN(const auto file, NewFile::Create(place));
  PS_RETURN_IF_ERROR(file->Write(content));
  return file->Finish();
}

absl::Status NewFolder::Finish() {
  std::error_code error;
  for (const fs::directory_entry& inner : fs::recursive_directory_iterator(part_, error)) {
    if (inner.is_directory(error) && !SyncFolder(inner.path().string())) return CannotBeWritten(path_, std::strerror(errno));
  }
  if (!Sync(lock_)) return CannotBeWritten(path_, std::strerror(errno));
  if (::renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) return Exists(path_);
    if (errno != EINVAL && errno != ENOSYS) return CannotBeWritten(path_, std::strerror(errno));
    // A file system without that call.
    if (fs::exists(fs::symlink_status(path_, error))) return Exists(path_);
    if (std::rename(part_.c_str(), path_.c_str()) != 0) return CannotBeWritten(path_, std::strerror(errno));
  }
  finished_ = true;
  const std::string parent = fs::path(path_).parent_path().string();
  return SyncFolder(parent.empty() ? "." : parent) ? absl::OkStatus() : CannotBeWritten(path_, std::strerror(errno));
}

uint64_t NewFolder::FreeBytes() const {
  struct statvfs info;
  return ::fstatvfs(lock_, &info) == 0 ? uint64_t{info.f_bavail} * info.f_frsize : UINT64_MAX;
}

}  // namespace promptsweep::weights
