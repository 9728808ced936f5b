#include "blobs/file_blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/status.h"

namespace promptsweep {
namespace {

constexpr size_t kPageEntries = 1000;
constexpr absl::Duration kTempLife = absl::Hours(24);
constexpr absl::string_view kTempPrefix = ".put-";

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

absl::Status FromErrno(int error, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    case ELOOP:
    case ENOTDIR:
    case EISDIR:
      return absl::FailedPreconditionError(message);
    default:
      return absl::UnavailableError(message);
  }
}

class FileBlobStore final : public BlobStore {
 public:
  FileBlobStore(std::string folder, const Options& options) : folder_(std::move(folder)), options_(options) {}

  absl::Status Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) override;
  absl::StatusOr<BlobInfo> Stat(absl::string_view key) override;
  absl::StatusOr<std::string> Get(absl::string_view key) override;
  absl::Status Delete(absl::string_view key) override;
  absl::StatusOr<BlobPage> List(absl::string_view prefix, absl::string_view cursor) override;

 private:
  struct Place {
    Fd folder;
    std::string name;
  };
  std::string PathOf(absl::string_view key) const { return absl::StrCat(folder_, "/", key); }
  absl::StatusOr<Fd> OpenRoot(bool make);
  // The folder that holds an object, and its name there.
  absl::StatusOr<Place> Find(absl::string_view key, bool make);
  absl::StatusOr<std::string> Read(const Place& place, absl::string_view key);
  // OK where the object holds these bytes and its name is durable; NOT_FOUND where there is none.
  absl::Status CheckSame(const Place& place, absl::string_view key, absl::string_view bytes);
  absl::Status Write(const Place& place, const std::string& temp, absl::string_view key, absl::string_view bytes);
  absl::Status Walk(int folder, const std::string& path, absl::string_view prefix, absl::string_view cursor, BlobPage& page);

  const std::string folder_;
  const Options options_;
  std::atomic<uint64_t> temps_{0};
};

absl::StatusOr<Fd> FileBlobStore::OpenRoot(bool make) {
  Fd root(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root.get() >= 0) return root;
  if (errno != ENOENT || !make) return FromErrno(errno, folder_);
  // Every folder that had to be made is named durably in the one above it.
  std::vector<std::filesystem::path> missing;
  std::error_code error;
  for (std::filesystem::path at = folder_; !std::filesystem::exists(at, error) && at.has_relative_path(); at = at.parent_path()) {
    missing.push_back(at);
  }
  for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
    if (::mkdir(at->c_str(), 0755) != 0 && errno != EEXIST) return FromErrno(errno, at->string());
    Fd parent(::open(at->parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent.get() < 0 || ::fsync(parent.get()) != 0) return FromErrno(errno, at->parent_path().string());
  }
  root = Fd(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root.get() < 0) return FromErrno(errno, folder_);
  return root;
}

absl::StatusOr<FileBlobStore::Place> FileBlobStore::Find(absl::string_view key, bool make) {
  if (!IsBlobPath(key)) return absl::InvalidArgumentError("not a key of an object");
  PS_ASSIGN_OR_RETURN(Fd folder, OpenRoot(make));
  std::vector<std::string> names = absl::StrSplit(key, '/');
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    Fd next(::openat(folder.get(), names[i].c_str(), kFlags));
    if (next.get() < 0 && errno == ENOENT && make) {
      if (::mkdirat(folder.get(), names[i].c_str(), 0755) != 0 && errno != EEXIST) return FromErrno(errno, PathOf(key));
      if (::fsync(folder.get()) != 0) return FromErrno(errno, PathOf(key));
      next = Fd(::openat(folder.get(), names[i].c_str(), kFlags));
    }
    if (next.get() < 0) return FromErrno(errno, PathOf(key));
    folder = std::move(next);
  }
  return Place{std::move(folder), std::move(names.back())};
}

absl::StatusOr<std::string> FileBlobStore::Read(const Place& place, absl::string_view key) {
  Fd file(::openat(place.folder.get(), place.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return FromErrno(errno, PathOf(key));
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return FromErrno(errno, PathOf(key));
  if (!S_ISREG(info.st_mode)) return absl::FailedPreconditionError(absl::StrCat(PathOf(key), ": not a file"));
  if (static_cast<uint64_t>(info.st_size) > options_.max_object_bytes) {
    return absl::DataLossError(absl::StrCat(PathOf(key), ": has ", info.st_size, " bytes, more than any object"));
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::read(file.get(), bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, PathOf(key));
    if (n == 0) return absl::DataLossError(absl::StrCat(PathOf(key), ": ends early"));
    at += static_cast<size_t>(n);
  }
  return bytes;
}

absl::Status FileBlobStore::CheckSame(const Place& place, absl::string_view key, absl::string_view bytes) {
  const auto there = Read(place, key);
  if (absl::IsDataLoss(there.status()) || (there.ok() && *there != bytes)) {
    return absl::AlreadyExistsError(absl::StrCat(PathOf(key), ": holds other bytes"));
  }
  PS_RETURN_IF_ERROR(there.status());
  // Whoever put it may not have come this far.
  if (::fsync(place.folder.get()) != 0) return FromErrno(errno, PathOf(key));
  return absl::OkStatus();
}

absl::Status FileBlobStore::Write(const Place& place, const std::string& temp, absl::string_view key, absl::string_view bytes) {
  Fd file(::openat(place.folder.get(), temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.get() < 0) return FromErrno(errno, PathOf(key));
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::write(file.get(), bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, PathOf(key));
    at += static_cast<size_t>(n);
  }
  if (::fsync(file.get()) != 0) return FromErrno(errno, PathOf(key));
  return ::close(file.release()) == 0 ? absl::OkStatus() : FromErrno(errno, PathOf(key));
}

absl::Status FileBlobStore::Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) {
  if (Sha256Of(bytes) != sha256) return absl::InvalidArgumentError("the digest is not the one of the bytes");
  PS_ASSIGN_OR_RETURN(const Place place, Find(key, /*make=*/true));
  if (absl::Status same = CheckSame(place, key, bytes); !absl::IsNotFound(same)) return same;
  const std::string temp = absl::StrCat(kTempPrefix, ::getpid(), "-", absl::GetCurrentTimeNanos(), "-", temps_++);
  absl::Status status = Write(place, temp, key, bytes);
  if (status.ok()) {
    const int folder = place.folder.get();
    int failed = ::renameat2(folder, temp.c_str(), folder, place.name.c_str(), RENAME_NOREPLACE);
    // File systems without that flag have hard links.
    if (failed != 0 && errno == EINVAL) failed = ::linkat(folder, temp.c_str(), folder, place.name.c_str(), 0);
    if (failed != 0) status = errno == EEXIST ? CheckSame(place, key, bytes) : FromErrno(errno, PathOf(key));
  }
  (void)::unlinkat(place.folder.get(), temp.c_str(), 0);
  PS_RETURN_IF_ERROR(status);
  if (::fsync(place.folder.get()) != 0) return FromErrno(errno, PathOf(key));
  return absl::OkStatus();
}

absl::StatusOr<std::string> FileBlobStore::Get(absl::string_view key) {
  PS_ASSIGN_OR_RETURN(const Place place, Find(key, /*make=*/false));
  return Read(place, key);
}

absl::StatusOr<BlobInfo> FileBlobStore::Stat(absl::string_view key) {
  PS_ASSIGN_OR_RETURN(const std::string bytes, Get(key));
  return BlobInfo{bytes.size(), Sha256Of(bytes)};
}

absl::Status FileBlobStore::Delete(absl::string_view key) {
  const auto place = Find(key, /*make=*/false);
  if (absl::IsNotFound(place.status())) return absl::OkStatus();
  PS_RETURN_IF_ERROR(place.status());
  if (::unlinkat(place->folder.get(), place->name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  return FromErrno(errno, PathOf(key));
}

// In order of whole keys: a folder sorts as its name with a slash.
absl::Status FileBlobStore::Walk(int folder, const std::string& path, absl::string_view prefix, absl::string_view cursor,
                                 BlobPage& page) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(folder), &::closedir);
  if (!stream) {
    const int error = errno;
    ::close(folder);
    return FromErrno(error, PathOf(path));
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info;
    if (::fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const bool temp = absl::StartsWith(name, kTempPrefix);
    if (temp && S_ISREG(info.st_mode) &&
        options_.clock->WallMillis() > static_cast<uint64_t>(info.st_mtim.tv_sec) * 1000 + absl::ToInt64Milliseconds(kTempLife)) {
      (void)::unlinkat(folder, name.c_str(), 0);
    }
    if (temp || !(S_ISDIR(info.st_mode) || S_ISREG(info.st_mode))) continue;
    std::string key = absl::StrCat(path, name, S_ISDIR(info.st_mode) ? "/" : "");
    const bool wanted = absl::StartsWith(key, prefix) || (S_ISDIR(info.st_mode) && absl::StartsWith(prefix, key));
    if (wanted && (key > cursor || absl::StartsWith(cursor, key))) names.push_back(std::move(key));
    errno = 0;
  }
  if (errno != 0) return FromErrno(errno, PathOf(path));
  std::sort(names.begin(), names.end());
  for (const std::string& key : names) {
    if (page.entries.size() > kPageEntries) return absl::OkStatus();
    const std::string name = key.substr(path.size());
    if (key.back() == '/') {
      const int inner =
          ::openat(folder, name.substr(0, name.size() - 1).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (inner < 0 && errno == ENOENT) continue;
      if (inner < 0) return FromErrno(errno, PathOf(key));
      PS_RETURN_IF_ERROR(Walk(inner, key, prefix, cursor, page));
      continue;
    }
    struct stat info;
    if (key <= cursor || ::fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    page.entries.push_back({key, static_cast<uint64_t>(info.st_size), absl::TimeFromTimespec(info.st_mtim)});
  }
  return absl::OkStatus();
}

absl::StatusOr<BlobPage> FileBlobStore::List(absl::string_view prefix, absl::string_view cursor) {
  BlobPage page;
  absl::StatusOr<Fd> root = OpenRoot(/*make=*/false);
  if (absl::IsNotFound(root.status())) return page;
  PS_RETURN_IF_ERROR(root.status());
  PS_RETURN_IF_ERROR(Walk(root->release(), "", prefix, cursor, page));
  if (page.entries.size() > kPageEntries) {
    page.entries.resize(kPageEntries);
    page.next = page.entries.back().key;
  }
  return page;
}

}  // namespace

absl::StatusOr<std::shared_ptr<BlobStore>> OpenFileBlobStore(const BlobUri& uri, const BlobStore::Options& options) {
  return std::shared_ptr<BlobStore>(std::make_shared<FileBlobStore>(uri.path, options));
}

}  // namespace promptsweep
