// SentencePiece's unigram segmentation, read from spiece.model or from a tokenizer.json.
// Source: sentencepiece 0.2 normalizer.cc, unigram_model.cc (EncodeOptimized) and sentencepiece_processor.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Immutable after loading; thread-safe.
class SentencePiece {
 public:
  // A file's ModelProto. INVALID_ARGUMENT, naming the file, for a broken one and for what is not unigram without byte fallback
  // and user-defined symbols.
  [[nodiscard]] static absl::StatusOr<SentencePiece> LoadModel(const std::string& path);
  // A tokenizers file whose model is Unigram. Its scores, its precompiled character map and its special tokens are read; the rest
  // of its pipeline is not.
  [[nodiscard]] static absl::StatusOr<SentencePiece> LoadJson(const std::string& path);

  // Normalised (character map; spaces to U+2581, none at the ends, none twice, where the model says so; no space is put before
  // the text) and cut into the pieces of the highest sum of scores. A run of characters that no piece holds is one piece. O(n)
  // for pieces of bounded length.
  std::vector<std::string> Encode(absl::string_view text) const;

  // Id of a piece, special ones too; that of <unk> where there is none.
  int64_t Id(absl::string_view piece) const;
  // Whether the piece is there.
  bool Has(absl::string_view piece) const { return ids_.contains(piece); }
  int64_t size() const { return static_cast<int64_t>(scores_.size()); }

 private:
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

  absl::Status Add(const std::string& path, std::string piece, float score, Type type);
  absl::Status Finish(const std::string& path);
  absl::Status SetCharacterMap(const std::string& path, absl::string_view blob);
  // The longest entry of the character map at the start of `text`, or its first character: what stands for it, and its length.
  std::pair<absl::string_view, size_t> NormalizePrefix(absl::string_view text) const;
  std::string Normalize(absl::string_view text) const;

  absl::flat_hash_map<std::string, int64_t> ids_;
  std::vector<float> scores_;
  // Children by (node << 8 | byte); node 0 is the root. Only pieces that segmentation may use.
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  std::vector<int64_t> ends_;  // by node: the piece that ends there, or -1
  float min_score_ = 0;
  int64_t unknown_ = -1;
  bool remove_extra_spaces_ = true, escape_spaces_ = true;
  std::vector<uint32_t> map_units_;  // darts-clone double array
  std::string map_texts_;            // zero-terminated results
};

}  // namespace promptsweep::worker
