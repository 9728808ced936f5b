// For targets whose readers take a path.
#pragma once

#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/fuzz/fuzz.h"

namespace promptsweep {

// The input as a file of this process, in memory where the machine has such a folder; overwritten by the next.
inline std::string AsFile(absl::string_view bytes) {
  static const std::string path =
      absl::StrCat(::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", "/promptsweep-fuzz-", ::getpid());
  struct Remove {
    ~Remove() { ::unlink(path.c_str()); }
  };
  static const Remove at_exit;
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

}  // namespace promptsweep
