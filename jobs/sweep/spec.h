// YAML to a checked SweepSpec. The grammar is in README.md, by example.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

inline constexpr size_t kMaxSpecBytes = 1 << 20;
inline constexpr int kMaxSpecDepth = 16;
inline constexpr int kMaxSpecNodes = 100'000;
inline constexpr size_t kMaxPrompts = 1'000'000;      // in all lists, files and templates of one spec
inline constexpr size_t kMaxPromptBytes = 64 << 10;   // one prompt
inline constexpr size_t kMaxListBytes = 64 << 20;     // one prompt or wildcard file
inline constexpr uint64_t kMaxListedRange = 100'000;  // a range inside a list is written out

// Where in the files a value stands, as "file:line:column", so that later checks can point at it. Key: axis name ("model", a
// setting, or "embedders") and CanonicalValue of the value; "cells" and nothing for all cells.
using SourceMap = std::map<std::pair<std::string, std::string>, std::string>;

struct LoadedSpec {
  v1::SweepSpec spec;
  v1::SweepLimits limits;  // the keys under `limits:` that are given; no part of the spec, hence of no digest
  SourceMap where;
  std::vector<std::string> files;  // prompt and wildcard files read, in order, without repeats
  std::vector<std::string> notes;  // what is allowed but may not be meant, "file:line:column: what"
};

// Reads a spec. Files it names are relative to its folder. INVALID_ARGUMENT "file:line:column: what" for anything wrong inside;
// NOT_FOUND where the file does not exist.
[[nodiscard]] absl::StatusOr<LoadedSpec> LoadSpec(const std::string& path);

// The same from memory. `file_name` is for messages, `base_folder` for the files the text names. Never crashes on any bytes.
[[nodiscard]] absl::StatusOr<LoadedSpec> ParseSpec(const std::string& text, const std::string& file_name,
                                                   const std::string& base_folder);

}  // namespace promptsweep::sweep
