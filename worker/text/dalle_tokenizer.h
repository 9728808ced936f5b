// Text as DALL-E mini reads it. Its two published implementations do not agree; a sweep says which one it means (`dalle_text`).
//
// min-dalle 0.4.11 (TextTokenizer and generate_raw_image_stream): emoji are spelt out, then lower case; characters beyond ASCII
// are dropped; words are split at spaces (not at tabs or line ends); each is U+0120 and its characters, merged by BPE; an unknown
// subword is <unk>. A text of more tokens than fit is cut, which loses its </s>; the unconditional row holds the first and the
// last token kept, so that for such a text it ends in a word. Blank text gives <s> </s> in both rows.
//
// dalle-mini's Flax pipeline (DalleBartProcessor and the BartTokenizerFast of transformers): dalle_normalizer.h where the model's
// configuration says normalize_text; GPT-2's words, byte by byte, merged by BPE; bytes the vocabulary lacks are dropped; <s>,
// </s>, <unk>, <pad> and <mask> in the text are themselves. A longer text is cut before its </s>. The unconditional row is the
// empty text, not normalised: <s> </s>. Normalised blank text is a space, hence <s> U+0120 </s>: it is not the unconditional row.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/text/bpe.h"

namespace promptsweep::worker {

enum class DalleTextForm { kMinDalle, kFlax };

struct TokenRow {
  std::vector<int64_t> tokens;
  std::vector<bool> read;  // which of them the model attends to

  friend auto operator<=>(const TokenRow&, const TokenRow&) = default;
};

// Rows for one prompt, each of length() tokens.
struct DalleText {
  TokenRow conditional;
  TokenRow unconditional;  // what guidance (super-conditioning) pushes away from
};

// Immutable after Load; thread-safe.
class DalleTokenizer {
 public:
  // Reads vocab.json and merges.txt of `folder`; rows are `length` (2 or more) tokens. The vocabulary must hold <s>, </s> and
  // <unk>; <pad> is 1 where it does not hold one. `normalize` is the configuration's normalize_text.
  [[nodiscard]] static absl::StatusOr<DalleTokenizer> Load(const std::string& folder, int64_t length, bool normalize);

  // <s>, the text's ids, </s>; not cut, not padded.
  std::vector<int64_t> Tokenize(DalleTextForm form, absl::string_view text) const;

  // Cut or padded to length(), as above.
  DalleText Rows(DalleTextForm form, absl::string_view text) const;
  // Every position holds the padding token and none is attended to; the unconditional row is <s> </s>. (Where nothing is attended
  // to min-dalle attends to all of it evenly, and so does the encoder here for both forms; Flax divides by zero.)
  DalleText PaddingRows() const;

  int64_t length() const { return length_; }
  int64_t pad() const { return pad_; }
  const Bpe& bpe() const { return bpe_; }

 private:
  explicit DalleTokenizer(Bpe bpe) : bpe_(std::move(bpe)) {}
  void TokenizeMinDalle(absl::string_view text, std::vector<int64_t>& tokens) const;
  void TokenizeFlax(absl::string_view text, std::vector<int64_t>& tokens) const;
  void TokenizeFlaxPlain(absl::string_view text, std::vector<int64_t>& tokens) const;
  // Padded to length(); `ids` are at most as many.
  TokenRow Row(std::vector<int64_t> ids) const;

  Bpe bpe_;
  bool normalize_ = false;
  int64_t length_ = 0;
  int64_t start_ = 0, end_ = 0, unknown_ = 0, pad_ = 1;
  std::vector<std::pair<std::string, int64_t>> special_;  // what stands for itself in a text
};

}  // namespace promptsweep::worker
