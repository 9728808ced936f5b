// The entries of a zip archive as torch.save writes it: stored, not compressed, so that an entry's content is a range of the
// file. Format: PKWARE APPNOTE 6.3.10, sections 4.3 (structure) and 4.5.3 (zip64).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::weights {

struct ZipEntry {
  std::string name;
  absl::string_view content;  // of the file's bytes
  uint32_t crc32 = 0;         // as the archive says; not checked
};

// True where the bytes begin as a zip archive with an entry does.
[[nodiscard]] bool IsZip(absl::string_view bytes);

// Every entry, in the order of the directory at the end. INVALID_ARGUMENT where that directory is missing (a file cut short), an
// entry is compressed or encrypted, lies outside the file or over another, or a name comes twice.
[[nodiscard]] absl::StatusOr<std::vector<ZipEntry>> ReadZip(absl::string_view bytes);

}  // namespace promptsweep::weights
