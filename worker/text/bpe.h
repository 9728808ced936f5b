// Byte-pair encoding: the vocabulary and merge files, and the merging itself. The rest of a tokenizer (what a word is, which
// marks stand around it) differs by model and lives in clip_tokenizer.h and dalle_tokenizer.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Immutable after Load; thread-safe.
class Bpe {
 public:
  // vocab.json maps each subword to its id (unique, 0 or more). merges.txt holds one pair a line, best first, below one header
  // line; a line that is not a pair counts as a rank that nothing has. INVALID_ARGUMENT names the file.
  [[nodiscard]] static absl::StatusOr<Bpe> Load(const std::string& vocab_path, const std::string& merges_path);

  // The same from what a tokenizer.json holds: ids by subword, and pairs best first. `path` is what messages name.
  [[nodiscard]] static absl::StatusOr<Bpe> Make(const std::string& path, absl::flat_hash_map<std::string, int64_t> ids,
                                                const std::vector<std::pair<std::string, std::string>>& merges);

  // Merges neighbours of `symbols`, always the pair of lowest rank and of those the leftmost, until no pair has a rank.
  // O(n log n).
  std::vector<std::string> Merge(std::vector<std::string> symbols) const;

  // Id of a subword, or -1.
  int64_t Find(absl::string_view subword) const;
  // Id of a subword that must be there: INVALID_ARGUMENT names it and the vocabulary file.
  [[nodiscard]] absl::StatusOr<int64_t> Need(absl::string_view subword) const;
  // One more than the largest id.
  int64_t size() const { return size_; }
  const std::string& vocab_path() const { return vocab_path_; }

 private:
  std::string vocab_path_;
  absl::flat_hash_map<std::string, int64_t> ids_;
  absl::flat_hash_map<std::string, int64_t> ranks_;  // "left right": neither holds a space
  int64_t size_ = 0;
};

// The code points of well-formed UTF-8 as strings of one each.
std::vector<std::string> SplitCodePoints(absl::string_view utf8);

}  // namespace promptsweep::worker
