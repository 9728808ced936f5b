#include "jobs/weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace promptsweep::weights {

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
  }
  std::shared_ptr<MappedFile> file(new MappedFile(path));
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  file->size_ = static_cast<size_t>(info.st_size);
  void* data = file->size_ > 0 ? ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  const int error = errno;
  ::close(fd);
  if (data == MAP_FAILED) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be mapped: ", std::strerror(error)));
  file->data_ = data;
  if (absl::StartsWith(file->bytes(), "version https://git-lfs")) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": only git-lfs's pointer to the file; fetch it with `git lfs pull`"));
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

void MappedFile::Forget() const {
  // Clean pages of a private mapping: nothing is lost.
  if (data_) (void)::madvise(data_, size_, MADV_DONTNEED);
}

}  // namespace promptsweep::weights
