// The tokenizer of a tokenizer.json whose model is BPE over whole texts with byte fallback, as Gemma's is.
// Source: tokenizers 0.22 (added_vocabulary.rs, models/bpe/model.rs).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/text/bpe.h"

namespace promptsweep::worker {

// Immutable after Load; thread-safe.
class JsonBpe {
 public:
  // Reads added tokens (taken out of the text before or after it is normalised, the longest first), normalizers Replace with a
  // plain pattern, Lowercase and Prepend, alone or in a Sequence, a pre-tokenizer that cuts after a plain pattern, and the
  // post-processor's template. INVALID_ARGUMENT names the file and whatever of its pipeline is none of these.
  [[nodiscard]] static absl::StatusOr<JsonBpe> Load(const std::string& path);

  // Ids of a text without the template's. `lower_case`: normalisation begins with lower case, code point by code point.
  std::vector<int64_t> Tokenize(absl::string_view text, bool lower_case) const;

  // Ids that the template puts before and behind a text.
  const std::vector<int64_t>& before() const { return before_; }
  const std::vector<int64_t>& behind() const { return behind_; }
  // Id of a token, added ones included, or -1.
  int64_t Find(absl::string_view token) const;
  int64_t size() const { return size_; }

 private:
  struct Added {
    std::string content;
    int64_t id;
  };
  // Added tokens, the longest first, and the bytes they begin with.
  struct AddedSet {
    std::vector<Added> tokens;
    std::array<bool, 256> begins{};
  };
  struct Step {
    enum class Kind { kReplace, kLowercase, kPrepend } kind;
    std::string pattern, content;
  };
  explicit JsonBpe(Bpe bpe) : bpe_(std::move(bpe)) {}
  std::string Normalize(absl::string_view text, bool lower_case) const;
  // The leftmost, of those the longest, added token in text: where, and which; npos where there is none.
  static std::pair<size_t, const Added*> NextOf(const AddedSet& added, absl::string_view text);
  void TokenizeSegment(absl::string_view normal, std::vector<int64_t>& ids) const;
  void TokenizeWord(absl::string_view word, std::vector<int64_t>& ids) const;

  Bpe bpe_;
  AddedSet raw_, normalized_;
  std::vector<Step> steps_;
  std::string cut_after_;  // empty: whole texts
  bool byte_fallback_ = false, fuse_unknown_ = false;
  int64_t unknown_ = -1;  // -1: an unknown character is left out
  std::vector<int64_t> before_, behind_;
  int64_t size_ = 0;
};

}  // namespace promptsweep::worker
