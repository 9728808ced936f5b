#include "worker/text/dalle_tokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "worker/text/byte_level.h"
#include "worker/text/dalle_normalizer.h"
#include "worker/text/emoji.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

constexpr absl::string_view kWordStart = "\xC4\xA0";  // U+0120
constexpr absl::string_view kMask = "<mask>";         // takes the white space before it along

// Two characters beyond ASCII have a lower case within it.
std::string LowerAscii(absl::string_view text) {
  std::string ascii;
  for (const char32_t c : DecodeUtf8(text)) {
    if (c < 0x80) ascii += absl::ascii_tolower(static_cast<unsigned char>(c));
    if (c == 0x130) ascii += 'i';
    if (c == 0x212A) ascii += 'k';
  }
  return ascii;
}

absl::string_view WithoutTrailingSpace(absl::string_view text) {
  const std::vector<char32_t> points = DecodeUtf8(text);
  size_t bytes = text.size();
  for (auto it = points.rbegin(); it != points.rend() && u_isUWhiteSpace(static_cast<UChar32>(*it)); ++it) {
    std::string one;
    AppendUtf8(*it, one);
    bytes -= one.size();
  }
  return text.substr(0, bytes);
}

}  // namespace

absl::StatusOr<DalleTokenizer> DalleTokenizer::Load(const std::string& folder, int64_t length, bool normalize) {
  PS_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Load(folder + "/vocab.json", folder + "/merges.txt"));
  DalleTokenizer tokenizer(std::move(bpe));
  tokenizer.length_ = length;
  tokenizer.normalize_ = normalize;
  PS_ASSIGN_OR_RETURN(tokenizer.start_, tokenizer.bpe_.Need("<s>"));
  PS_ASSIGN_OR_RETURN(tokenizer.end_, tokenizer.bpe_.Need("</s>"));
  PS_ASSIGN_OR_RETURN(tokenizer.unknown_, tokenizer.bpe_.Need("<unk>"));
  if (const int64_t pad = tokenizer.bpe_.Find("<pad>"); pad >= 0) tokenizer.pad_ = pad;
  for (absl::string_view mark : {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}) {
    if (const int64_t id = tokenizer.bpe_.Find(mark); id >= 0) tokenizer.special_.emplace_back(mark, id);
  }
  return tokenizer;
}

void DalleTokenizer::TokenizeMinDalle(absl::string_view text, std::vector<int64_t>& tokens) const {
  const std::string ascii = LowerAscii(SpellEmoji(text, "", ""));
  for (absl::string_view word : absl::StrSplit(ascii, ' ', absl::SkipEmpty())) {
    std::vector<std::string> symbols = {std::string(kWordStart)};
    for (const char c : word) symbols.emplace_back(1, c);
    for (const auto& subword : bpe_.Merge(std::move(symbols))) {
      const int64_t id = bpe_.Find(subword);
      tokens.push_back(id < 0 ? unknown_ : id);
    }
  }
}

void DalleTokenizer::TokenizeFlaxPlain(absl::string_view text, std::vector<int64_t>& tokens) const {
  for (absl::string_view word : ByteLevelWords(text)) {
    std::vector<std::string> symbols;
    for (const char byte : word) {
      const std::string& symbol = ByteCharacters()[static_cast<unsigned char>(byte)];
      if (bpe_.Find(symbol) >= 0) symbols.push_back(symbol);
    }
    for (const auto& subword : bpe_.Merge(std::move(symbols))) {
      if (const int64_t id = bpe_.Find(subword); id >= 0) tokens.push_back(id);
    }
  }
}

void DalleTokenizer::TokenizeFlax(absl::string_view text, std::vector<int64_t>& tokens) const {
  size_t plain = 0;
  for (size_t i = text.find('<'); i != absl::string_view::npos; i = text.find('<', i)) {
    const auto mark = std::find_if(special_.begin(), special_.end(),
                                   [&](const auto& special) { return absl::StartsWith(text.substr(i), special.first); });
    if (mark == special_.end()) {
      ++i;
      continue;
    }
    const absl::string_view before = text.substr(plain, i - plain);
    TokenizeFlaxPlain(mark->first == kMask ? WithoutTrailingSpace(before) : before, tokens);
    tokens.push_back(mark->second);
    plain = i += mark->first.size();
  }
  TokenizeFlaxPlain(text.substr(plain), tokens);
}

std::vector<int64_t> DalleTokenizer::Tokenize(DalleTextForm form, absl::string_view text) const {
  std::vector<int64_t> tokens = {start_};
  if (form == DalleTextForm::kMinDalle) {
    TokenizeMinDalle(text, tokens);
  } else {
    TokenizeFlax(normalize_ ? NormaliseDalleText(text) : std::string(text), tokens);
  }
  tokens.push_back(end_);
  return tokens;
}

TokenRow DalleTokenizer::Row(std::vector<int64_t> ids) const {
  TokenRow row{std::move(ids), {}};
  row.read.resize(row.tokens.size(), true);
  row.read.resize(length_, false);
  row.tokens.resize(length_, pad_);
  return row;
}

DalleText DalleTokenizer::Rows(DalleTextForm form, absl::string_view text) const {
  std::vector<int64_t> tokens = Tokenize(form, text);
  if (tokens.size() > static_cast<size_t>(length_)) {
    tokens.resize(length_);
    if (form == DalleTextForm::kFlax) tokens.back() = end_;
  }
  const std::vector<int64_t> unconditional = {start_, form == DalleTextForm::kFlax ? end_ : tokens.back()};
  DalleText rows{Row(std::move(tokens)), Row(unconditional)};
  // min-dalle knows padding by its id.
  if (form == DalleTextForm::kMinDalle) {
    for (TokenRow* row : {&rows.conditional, &rows.unconditional}) {
      for (size_t i = 0; i < row->tokens.size(); ++i) row->read[i] = row->tokens[i] != pad_;
    }
  }
  return rows;
}

DalleText DalleTokenizer::PaddingRows() const { return {Row({}), Row({start_, end_})}; }

}  // namespace promptsweep::worker
