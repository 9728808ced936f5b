#include "cli/part_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace promptsweep::cli {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

// False where it could not be done; some file systems and devices know no sync and need none.
bool Sync(int fd) { return ::fsync(fd) == 0 || errno == EINVAL || errno == EROFS; }

}  // namespace

PartFile::PartFile(std::string path)
    : path_(std::move(path)), part_(absl::StrCat(path_, ".part")), file_(std::fopen(part_.c_str(), "wb"), &std::fclose) {
  if (file_) (void)std::setvbuf(file_.get(), nullptr, _IOFBF, kBufferBytes);
}

PartFile::~PartFile() {
  if (file_) ::unlink(part_.c_str());
}

absl::Status PartFile::Write(absl::string_view bytes) {
  if (!file_ || std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) return Failed();
  return absl::OkStatus();
}

absl::Status PartFile::Finish() {
  if (!file_ || std::fflush(file_.get()) != 0 || !Sync(fileno(file_.get()))) return Failed();
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return Failed();
  file_.reset();
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed();
  const bool synced = Sync(fd);
  ::close(fd);
  return synced ? absl::OkStatus() : Failed();
}

absl::Status PartFile::Failed() const {
  return absl::InvalidArgumentError(absl::StrCat(path_, " cannot be written: ", std::strerror(errno)));
}

}  // namespace promptsweep::cli
