// Files that are there whole or not at all.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace promptsweep::cli {

// A file written beside its final name, PATH.part, which it gets when whole and on the disk; nothing is left of one that is
// given up. A killed process leaves a PATH.part, which the next try overwrites. Errors are INVALID_ARGUMENT "PATH cannot be
// written: ...". Not thread-safe.
class PartFile {
 public:
  explicit PartFile(std::string path);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  [[nodiscard]] absl::Status Write(absl::string_view bytes);
  // Syncs and renames. Once.
  [[nodiscard]] absl::Status Finish();
  const std::string& path() const { return path_; }

 private:
  absl::Status Failed() const;

  const std::string path_;
  const std::string part_;
  std::unique_ptr<FILE, int (*)(FILE*)> file_;
};

}  // namespace promptsweep::cli
