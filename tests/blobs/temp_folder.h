// A temporary folder, removed with everything in it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/check.h"

namespace promptsweep {

class BlobFolder {
 public:
  BlobFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ps-blobs-XXXXXX").string();
    PS_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~BlobFolder() { std::filesystem::remove_all(path_); }
  BlobFolder(const BlobFolder&) = delete;
  BlobFolder& operator=(const BlobFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace promptsweep
