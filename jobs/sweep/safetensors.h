// The header of a .safetensors file, checked before anyone trusts an offset in it. Reads no tensor data; needs no torch.
// Format: https://github.com/huggingface/safetensors#format (u64 little-endian length, JSON object, tensors back to back).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::sweep {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as written: "F32", "F16", "BF16", "I64", "U8", "BOOL", ...
  std::vector<int64_t> shape;
  uint64_t begin;  // bytes from the start of the file
  uint64_t end;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

// Bytes of one element; 0 for an unknown dtype.
[[nodiscard]] size_t SafetensorsItemSize(absl::string_view dtype);

// Parses the first bytes of a file of `file_size` bytes. `head` must hold the 8 length bytes and the JSON. Checks: length at most
// 100 MB and inside the file, one JSON object, no name twice, known dtypes, sizes that fit and equal end - begin, ranges that
// follow one another without gap or overlap and end with the file. INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view head, uint64_t file_size);

// Reads and parses the header of a file; messages start with the path. NOT_FOUND where it cannot be opened.
[[nodiscard]] absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path);

}  // namespace promptsweep::sweep
