// Text as CLIP reads it, after Hugging Face's CLIPTokenizerFast (transformers 4.57): NFC, runs of white space to one space,
// lower case code point by code point; words by 's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+; byte-level BPE whose
// last symbol of a word carries "</w>".
//
// open_clip's tokenizer first repairs text with ftfy and resolves HTML entities; that depends on ftfy's version, and the same
// weights in Hugging Face's layout never saw it, so here both layouts read as above. Printable ASCII without entities comes out
// the same in both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/text/bpe.h"

namespace promptsweep::worker {

// Immutable after Load; thread-safe.
class ClipTokenizer {
 public:
  // Reads vocab.json and merges.txt of `folder`, and the start, end, unknown and padding tokens from special_tokens_map.json,
  // else tokenizer_config.json, else the class defaults (<|startoftext|>, and <|endoftext|> for the rest). Models disagree about
  // the padding token, and where it is read by the model it changes results. Rows are `length` tokens, at least 2.
  [[nodiscard]] static absl::StatusOr<ClipTokenizer> Load(const std::string& folder, int64_t length);

  // Start, the words' ids, end; not cut, not padded. The start and end tokens' own texts inside `text` are those tokens.
  std::vector<int64_t> Tokenize(absl::string_view text) const;
  // Cut to length() with the end token kept, then padded.
  std::vector<int64_t> Row(absl::string_view text) const;

  // Pads with `id` instead.
  void PadWith(int64_t id) { pad_ = id; }

  int64_t length() const { return length_; }
  int64_t end() const { return end_; }
  int64_t pad() const { return pad_; }
  const Bpe& bpe() const { return bpe_; }

 private:
  explicit ClipTokenizer(Bpe bpe) : bpe_(std::move(bpe)) {}
  // Appends the ids of text that holds no special token.
  void TokenizePlain(absl::string_view text, std::vector<int64_t>& tokens) const;

  Bpe bpe_;
  int64_t length_ = 0;
  std::string start_text_, end_text_;
  int64_t start_ = 0, end_ = 0, unknown_ = 0, pad_ = 0;
};

}  // namespace promptsweep::worker
