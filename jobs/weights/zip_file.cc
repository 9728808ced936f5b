#include "jobs/weights/zip_file.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/weights/little_endian.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;

constexpr uint32_t kLocalHeader = 0x04034b50, kDirectoryHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr size_t kLocalBytes = 30, kDirectoryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kEnd64LocatorBytes = 20;
constexpr size_t kMaxComment = 0xffff;
constexpr uint64_t kMaxEntries = 1'000'000;
constexpr uint16_t kZip64Extra = 1;
constexpr uint16_t kEncrypted = 1;  // bit of the flags

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

struct Directory {
  uint64_t entries, begin, size;
};

absl::StatusOr<Directory> FindDirectory(absl::string_view bytes) {
  const size_t first = bytes.size() > kEndBytes + kMaxComment ? bytes.size() - kEndBytes - kMaxComment : 0;
  for (size_t at = bytes.size() < kEndBytes ? 0 : bytes.size() - kEndBytes + 1; at-- > first;) {
    if (LittleEndian<uint32_t>(bytes, at) != kEnd || at + kEndBytes + LittleEndian<uint16_t>(bytes, at + 20) != bytes.size())
      continue;
    Directory directory{LittleEndian<uint16_t>(bytes, at + 10), LittleEndian<uint32_t>(bytes, at + 16),
                        LittleEndian<uint32_t>(bytes, at + 12)};
    if (at >= kEnd64LocatorBytes && LittleEndian<uint32_t>(bytes, at - kEnd64LocatorBytes) == kEnd64Locator) {
      const uint64_t end64 = LittleEndian<uint64_t>(bytes, at - kEnd64LocatorBytes + 8);
      if (bytes.size() < kEnd64Bytes || end64 > bytes.size() - kEnd64Bytes || LittleEndian<uint32_t>(bytes, end64) != kEnd64) {
        return Invalid("its zip64 directory is not where the archive says");
      }
      directory = {LittleEndian<uint64_t>(bytes, end64 + 32), LittleEndian<uint64_t>(bytes, end64 + 48),
                   LittleEndian<uint64_t>(bytes, end64 + 40)};
    }
    if (directory.begin > at || directory.size > at - directory.begin) return Invalid("its directory lies outside the archive");
    return directory;
  }
  return Invalid("truncated: a zip archive without the directory at its end");
}

struct Header {
  ZipEntry entry;
  uint16_t flags, method;
  uint64_t packed, size, local;
};

// The 64-bit values that stand in the extra field for those that are all ones, in the order of the format.
absl::Status ReadZip64(absl::string_view extra, Header& header) {
  while (extra.size() >= 4) {
    const auto id = LittleEndian<uint16_t>(extra, 0), size = LittleEndian<uint16_t>(extra, 2);
    extra.remove_prefix(4);
    if (size > extra.size()) break;
    if (id == kZip64Extra) {
      absl::string_view values = extra.substr(0, size);
      for (uint64_t* value : {&header.size, &header.packed, &header.local}) {
        if (*value != 0xffffffff) continue;
        if (values.size() < 8) return Invalid("its zip64 sizes are cut short");
        *value = LittleEndian<uint64_t>(values, 0);
        values.remove_prefix(8);
      }
      return absl::OkStatus();
    }
    extra.remove_prefix(size);
  }
  return absl::OkStatus();
}

// Reads one header off `directory` and moves behind it.
absl::StatusOr<Header> NextHeader(absl::string_view& directory) {
  if (directory.size() < kDirectoryBytes || LittleEndian<uint32_t>(directory, 0) != kDirectoryHeader) {
    return Invalid("its directory is damaged");
  }
  Header header;
  header.flags = LittleEndian<uint16_t>(directory, 8);
  header.method = LittleEndian<uint16_t>(directory, 10);
  header.entry.crc32 = LittleEndian<uint32_t>(directory, 16);
  header.packed = LittleEndian<uint32_t>(directory, 20);
  header.size = LittleEndian<uint32_t>(directory, 24);
  header.local = LittleEndian<uint32_t>(directory, 42);
  const size_t name = LittleEndian<uint16_t>(directory, 28), extra = LittleEndian<uint16_t>(directory, 30),
               comment = LittleEndian<uint16_t>(directory, 32);
  directory.remove_prefix(kDirectoryBytes);
  if (directory.size() < name + extra + comment) return Invalid("its directory is damaged");
  header.entry.name = std::string(directory.substr(0, name));
  PS_RETURN_IF_ERROR(ReadZip64(directory.substr(name, extra), header));
  directory.remove_prefix(name + extra + comment);
  return header;
}

// Where the entry's content is, from its own header in front of it.
absl::StatusOr<absl::string_view> Content(absl::string_view bytes, const Header& header) {
  const std::string name = Quoted(header.entry.name);
  if (header.flags & kEncrypted) return Invalid(absl::StrCat("entry ", name, " is encrypted"));
  if (header.method != 0 || header.packed != header.size) {
    return Invalid(absl::StrCat("entry ", name, " is compressed, which torch.save never does"));
  }
  if (header.local > bytes.size() || bytes.size() - header.local < kLocalBytes ||
      LittleEndian<uint32_t>(bytes, header.local) != kLocalHeader) {
    return Invalid(absl::StrCat("entry ", name, " is not where the directory says"));
  }
  const size_t name_size = LittleEndian<uint16_t>(bytes, header.local + 26);
  const uint64_t begin = header.local + kLocalBytes + name_size + LittleEndian<uint16_t>(bytes, header.local + 28);
  if (begin > bytes.size() || header.size > bytes.size() - begin) {
    return Invalid(absl::StrCat("entry ", name, " lies outside the file"));
  }
  if (bytes.substr(header.local + kLocalBytes, name_size) != header.entry.name) {
    return Invalid(absl::StrCat("entry ", name, " has another name in front of its content"));
  }
  return bytes.substr(begin, header.size);
}

}  // namespace

bool IsZip(absl::string_view bytes) { return absl::StartsWith(bytes, "PK\x03\x04"); }

absl::StatusOr<std::vector<ZipEntry>> ReadZip(absl::string_view bytes) {
  PS_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  if (directory.entries > kMaxEntries) return Invalid(absl::StrCat("has ", directory.entries, " entries"));
  absl::string_view headers = bytes.substr(directory.begin, directory.size);
  std::vector<ZipEntry> entries;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;  // of the file: an entry's header and content
  std::set<std::string> names;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    PS_ASSIGN_OR_RETURN(Header header, NextHeader(headers));
    PS_ASSIGN_OR_RETURN(header.entry.content, Content(bytes.substr(0, directory.begin), header));
    if (!names.insert(header.entry.name).second)
      return Invalid(absl::StrCat("entry ", Quoted(header.entry.name), " comes twice"));
    ranges.emplace_back(header.local, static_cast<uint64_t>(header.entry.content.data() - bytes.data()) + header.size);
    entries.push_back(std::move(header.entry));
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return Invalid("its entries lie over one another");
  }
  return entries;
}

}  // namespace promptsweep::weights
