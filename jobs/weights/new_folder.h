// A folder that is there whole or not at all, and files in it that are on the disk before it gets its name.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::weights {

// A new file. Errors are INVALID_ARGUMENT "PATH cannot be written: ...". Not thread-safe.
class NewFile {
 public:
  // Its folder must be there, the file must not.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  [[nodiscard]] absl::Status Write(absl::string_view bytes);
  // Syncs and closes. Once.
  [[nodiscard]] absl::Status Finish();
  // The first error of Write or Finish.
  const absl::Status& failed() const { return failed_; }

 private:
  NewFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Failed();

  const std::string path_;
  int fd_;
  absl::Status failed_;
};

// Filled under another name, ".NAME.part" beside it, and renamed when complete. Nothing is left of one that is given up; what a
// killed process left is removed by the next try. Not thread-safe.
class NewFolder {
 public:
  // INVALID_ARGUMENT where `path` exists, cannot be made, or another process is making it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<NewFolder>> Create(const std::string& path);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  // Where to write the file `name`, for now; a '/' in it makes a subfolder. INVALID_ARGUMENT where that cannot be made.
  [[nodiscard]] absl::StatusOr<std::string> Place(const std::string& name);
  // Writes a small file whole.
  [[nodiscard]] absl::Status Write(const std::string& name, absl::string_view content);
  // Syncs and gives the folder its name; never over something that is there by then. Once.
  [[nodiscard]] absl::Status Finish();
  // Bytes that the disk has left for it; UINT64_MAX where unknown.
  [[nodiscard]] uint64_t FreeBytes() const;

 private:
  NewFolder(std::string path, std::string part, int lock) : path_(std::move(path)), part_(std::move(part)), lock_(lock) {}

  const std::string path_, part_;
  const int lock_;  // the part folder, open and locked
  bool finished_ = false;
};

}  // namespace promptsweep::weights
