// Vocabulary files: the words motifs may be named by, and which word is a kind of which.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::motifs {

struct VocabularyFile {
  std::vector<std::string> labels;
  // For each label the index of the label above it, or -1. No cycles.
  std::vector<int> parents;
  bool has_parents() const;
};

inline constexpr size_t kMostLabels = 200'000, kLongestLabel = 200;
// Bytes of a file.
inline constexpr size_t kLargestFile = size_t{128} << 20;

// One label a line, after a tab optionally its parent, which must itself be a label, before or after; lines that are empty or
// begin with # are skipped, blanks around labels and a CR at the end of a line too. INVALID_ARGUMENT, "`name`:LINE: why": not
// UTF-8, a control character (also one that turns or breaks lines beyond ASCII), a second tab, an empty label or parent, one
// longer than kLongestLabel bytes, a label twice, an unknown parent, a cycle, more than kMostLabels labels, none at all (without
// a line).
[[nodiscard]] absl::StatusOr<VocabularyFile> ParseVocabulary(absl::string_view text, absl::string_view name);

// Reads and parses a file. NOT_FOUND: no such file. INVALID_ARGUMENT: not a regular file, or larger than kLargestFile.
[[nodiscard]] absl::StatusOr<VocabularyFile> ReadVocabulary(const std::string& path);

}  // namespace promptsweep::motifs
