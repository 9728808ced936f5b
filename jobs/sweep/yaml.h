// A strict subset of YAML as a tree with positions: scalars, sequences and maps with text keys. Refused: anchors, aliases, tags,
// merge keys, several documents, duplicate keys, bytes that are not UTF-8, and anything beyond the limits of spec.h.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::sweep {

struct YamlNode {
  enum Kind { kScalar, kSequence, kMap };
  Kind kind = kScalar;
  std::string text;             // scalar
  bool quoted = false;          // scalar: in quotes or a block
  int line = 1;                 // from 1
  int column = 1;               // from 1, in bytes
  std::vector<YamlNode> keys;   // map: scalars
  std::vector<YamlNode> items;  // sequence items, or map values in the order of keys

  // Value under `key` of a map; null if there is none.
  const YamlNode* Find(absl::string_view key) const;
  // A scalar without quotes that YAML reads as null.
  bool IsNull() const;
  const char* KindName() const;
};

// A tree and the file it came from.
struct YamlFile {
  std::string name;
  YamlNode root;
  // "name:line:column: message".
  absl::Status Error(const YamlNode& at, absl::string_view message) const;
  std::string Place(const YamlNode& at) const;
};

[[nodiscard]] absl::StatusOr<YamlFile> ParseYaml(const std::string& text, const std::string& file_name);

}  // namespace promptsweep::sweep
