// A file's bytes, mapped for reading.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::weights {

// Immutable and thread-safe. The file must not shrink while it is mapped.
class MappedFile {
 public:
  // NOT_FOUND, or INVALID_ARGUMENT where it is no regular file, or only git-lfs's pointer to one. Messages start with the path.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  const std::string& path() const { return path_; }
  // Gives the memory of what was read back; it is read from the file again when touched again. Keeps a walk through a large file
  // small.
  void Forget() const;

 private:
  explicit MappedFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace promptsweep::weights
