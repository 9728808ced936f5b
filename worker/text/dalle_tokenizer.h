// Text as DALL-E mini reads it, after min-dalle 0.4.11 (TextTokenizer and generate_raw_image_stream).
//
// Lower-cased; characters beyond ASCII are dropped; split at spaces (not at tabs or line ends); each word is U+0120 and its
// characters, merged by BPE; an unknown subword is <unk>. Not done: min-dalle first spells emoji out by name (the `emoji`
// package's table); here they are dropped with the other characters beyond ASCII. Spell them in the prompt where wanted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/text/bpe.h"

namespace promptsweep::worker {

// Token rows for one prompt, each of length() ids.
struct DalleText {
  std::vector<int64_t> conditional;
  std::vector<int64_t> unconditional;  // the row that guidance (super-conditioning) pushes away from
};

// Immutable after Load; thread-safe.
class DalleTokenizer {
 public:
  // Reads vocab.json and merges.txt of `folder`; rows are `length` (2 or more) tokens. The vocabulary must hold <s>, </s> and
  // <unk>; <pad> is 1 where it does not hold one.
  [[nodiscard]] static absl::StatusOr<DalleTokenizer> Load(const std::string& folder, int64_t length);

  // <s>, the words' ids, </s>; not cut, not padded.
  std::vector<int64_t> Tokenize(absl::string_view text) const;

  // Rows padded to length(). A text of more tokens is cut, which loses its </s>; the unconditional row holds the first and the
  // last token kept, so for such a text it ends in a word. Both are the reference's behaviour.
  DalleText Rows(absl::string_view text) const;
  // Every position holds the padding token; the unconditional row is <s> </s>.
  DalleText PaddingRows() const;

  int64_t length() const { return length_; }
  int64_t pad() const { return pad_; }
  const Bpe& bpe() const { return bpe_; }

 private:
  explicit DalleTokenizer(Bpe bpe) : bpe_(std::move(bpe)) {}

  Bpe bpe_;
  int64_t length_ = 0;
  int64_t start_ = 0, end_ = 0, unknown_ = 0, pad_ = 1;
};

}  // namespace promptsweep::worker
