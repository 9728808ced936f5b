#include "worker/text/dalle_tokenizer.h"

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include "absl/strings/str_split.h"
#include "base/status.h"

namespace promptsweep::worker {
namespace {

constexpr absl::string_view kWordStart = "\xC4\xA0";  // U+0120

std::string LowerAscii(absl::string_view text) {
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  unicode.toLower(icu::Locale::getRoot());
  std::string ascii;
  for (int32_t i = 0; i < unicode.length(); ++i) {
    if (unicode[i] < 0x80) ascii += static_cast<char>(unicode[i]);
  }
  return ascii;
}

}  // namespace

absl::StatusOr<DalleTokenizer> DalleTokenizer::Load(const std::string& folder, int64_t length) {
  PS_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Load(folder + "/vocab.json", folder + "/merges.txt"));
  DalleTokenizer tokenizer(std::move(bpe));
  tokenizer.length_ = length;
  PS_ASSIGN_OR_RETURN(tokenizer.start_, tokenizer.bpe_.Need("<s>"));
  PS_ASSIGN_OR_RETURN(tokenizer.end_, tokenizer.bpe_.Need("</s>"));
  PS_ASSIGN_OR_RETURN(tokenizer.unknown_, tokenizer.bpe_.Need("<unk>"));
  if (const int64_t pad = tokenizer.bpe_.Find("<pad>"); pad >= 0) tokenizer.pad_ = pad;
  return tokenizer;
}

std::vector<int64_t> DalleTokenizer::Tokenize(absl::string_view text) const {
  std::vector<int64_t> tokens = {start_};
  const std::string ascii = LowerAscii(text);
  for (absl::string_view word : absl::StrSplit(ascii, ' ', absl::SkipEmpty())) {
    std::vector<std::string> symbols = {std::string(kWordStart)};
    for (const char c : word) symbols.emplace_back(1, c);
    for (const auto& subword : bpe_.Merge(std::move(symbols))) {
      const int64_t id = bpe_.Find(subword);
      tokens.push_back(id < 0 ? unknown_ : id);
    }
  }
  tokens.push_back(end_);
  return tokens;
}

DalleText DalleTokenizer::Rows(absl::string_view text) const {
  std::vector<int64_t> tokens = Tokenize(text);
  if (tokens.size() > static_cast<size_t>(length_)) tokens.resize(length_);
  DalleText rows{tokens, {tokens.front(), tokens.back()}};
  rows.conditional.resize(length_, pad_);
  rows.unconditional.resize(length_, pad_);
  return rows;
}

DalleText DalleTokenizer::PaddingRows() const {
  DalleText rows{std::vector<int64_t>(length_, pad_), {start_, end_}};
  rows.unconditional.resize(length_, pad_);
  return rows;
}

}  // namespace promptsweep::worker
