// Text as SigLIP and SigLIP 2 read it. The folder says which: "tokenizer_class" of tokenizer_config.json, else which model its
// tokenizer.json holds.
//
// SigLIP (SiglipTokenizer of transformers 4.57): lower case, ASCII punctuation taken out, white space to single spaces, then
// SentencePiece unigram pieces and the end token. The texts of the end, unknown and padding tokens are those tokens.
// SigLIP 2 (GemmaTokenizer's tokenizer.json): lower case, then BPE with byte fallback. The model was trained on lower-case texts;
// transformers before version 5 left that to the caller, so "do_lower_case": false in tokenizer_config.json turns it off.
//
// Either way a row is padded to its full length: the model has no mask and reads its last position.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/text/json_bpe.h"
#include "worker/text/sentencepiece.h"

namespace promptsweep::worker {

// Immutable after Load; thread-safe.
class SiglipTokenizer {
 public:
  // SigLIP: spiece.model, else tokenizer.json with a Unigram model. SigLIP 2: tokenizer.json with a BPE model. Special tokens
  // come from special_tokens_map.json, else tokenizer_config.json, else the classes' defaults. Rows are `length` tokens, at
  // least 2. INVALID_ARGUMENT names the file at fault.
  [[nodiscard]] static absl::StatusOr<SiglipTokenizer> Load(const std::string& folder, int64_t length);

  // With the tokens that stand around a text; not cut, not padded.
  std::vector<int64_t> Tokenize(absl::string_view text) const;
  // Cut to length() with the tokens around it kept, then padded.
  std::vector<int64_t> Row(absl::string_view text) const;

  int64_t length() const { return length_; }
  // One more than the largest id.
  int64_t size() const { return pieces_ ? pieces_->size() : bpe_->size(); }
  // The vocabulary's file.
  const std::string& path() const { return path_; }

 private:
  std::vector<int64_t> TokenizePieces(absl::string_view text) const;
  void AppendSegment(const std::string& text, std::vector<std::string>& pieces) const;

  std::string path_;
  std::shared_ptr<const SentencePiece> pieces_;  // SigLIP
  std::shared_ptr<const JsonBpe> bpe_;           // SigLIP 2
  bool lower_case_ = true, pad_left_ = false;
  int64_t length_ = 0, pad_ = 0, end_ = 0;
  std::vector<int64_t> before_, behind_;
  std::vector<std::string> specials_;  // SigLIP's, whose texts are tokens
  std::string unknown_text_;
  size_t unknown_pieces_ = 0;
};

}  // namespace promptsweep::worker
