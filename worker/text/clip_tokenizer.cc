#include "worker/text/clip_tokenizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/text/byte_level.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

constexpr char kWordEnd[] = "</w>";
constexpr absl::string_view kContractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

// NFC, then lower case. Runs of white space need no joining: words never hold white space.
std::vector<UChar32> Normalise(absl::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const auto* nfc = icu::Normalizer2::getNFCInstance(status);
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  if (U_SUCCESS(status)) {
    icu::UnicodeString normal = nfc->normalize(unicode, status);
    if (U_SUCCESS(status)) unicode = std::move(normal);
  }
  std::vector<UChar32> points;
  for (int32_t i = 0; i < unicode.length();) {
    const UChar32 c = unicode.char32At(i);
    i += U16_LENGTH(c);
    points.push_back(u_tolower(c));
    if (c == 0x130) points.push_back(0x307);  // the one code point whose lower case is two
  }
  return points;
}

// One past the word that starts at `begin`, which is not white space.
size_t WordEnd(const std::vector<UChar32>& points, size_t begin) {
  for (absl::string_view contraction : kContractions) {
    size_t length = 0;
    while (length < contraction.size() && begin + length < points.size() && points[begin + length] == contraction[length])
      ++length;
    if (length == contraction.size()) return begin + length;
  }
  const CharacterKind kind = KindOf(points[begin]);
  size_t end = begin + 1;
  if (kind == CharacterKind::kNumber) return end;
  while (end < points.size() && KindOf(points[end]) == kind) ++end;
  return end;
}

// The text of a special token: a string, or an object with "content".
std::string TokenText(const nlohmann::json& maps, const std::string& key) {
  const auto it = maps.find(key);
  if (it == maps.end()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) return (*it)["content"].get<std::string>();
  return "";
}

}  // namespace

absl::StatusOr<ClipTokenizer> ClipTokenizer::Load(const std::string& folder, int64_t length) {
  PS_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Load(folder + "/vocab.json", folder + "/merges.txt"));
  ClipTokenizer tokenizer(std::move(bpe));
  tokenizer.length_ = length;
  std::vector<nlohmann::json> maps;
  for (const char* name : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    std::error_code error;
    if (!std::filesystem::exists(folder + name, error)) continue;
    std::ifstream in(folder + name, std::ios::binary);
    maps.push_back(nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false));
    if (!maps.back().is_object()) return absl::InvalidArgumentError(absl::StrCat(folder, name, ": not a JSON object"));
  }
  const auto text_of = [&](const std::string& key, const std::string& otherwise) {
    for (const auto& map : maps) {
      if (std::string text = TokenText(map, key); !text.empty()) return text;
    }
    return otherwise;
  };
  tokenizer.start_text_ = text_of("bos_token", "<|startoftext|>");
  tokenizer.end_text_ = text_of("eos_token", "<|endoftext|>");
  PS_ASSIGN_OR_RETURN(tokenizer.start_, tokenizer.bpe_.Need(tokenizer.start_text_));
  PS_ASSIGN_OR_RETURN(tokenizer.end_, tokenizer.bpe_.Need(tokenizer.end_text_));
  PS_ASSIGN_OR_RETURN(tokenizer.unknown_, tokenizer.bpe_.Need(text_of("unk_token", tokenizer.end_text_)));
  PS_ASSIGN_OR_RETURN(tokenizer.pad_, tokenizer.bpe_.Need(text_of("pad_token", tokenizer.end_text_)));
  return tokenizer;
}

void ClipTokenizer::TokenizePlain(absl::string_view text, std::vector<int64_t>& tokens) const {
  const std::vector<UChar32> points = Normalise(text);
  for (size_t i = 0; i < points.size();) {
    if (KindOf(points[i]) == CharacterKind::kSpace) {
      ++i;
      continue;
    }
    const size_t end = WordEnd(points, i);
    std::string word;
    for (; i < end; ++i) AppendUtf8(points[i], word);
    std::vector<std::string> symbols;
    for (const char c : word) symbols.push_back(ByteCharacters()[static_cast<unsigned char>(c)]);
    absl::StrAppend(&symbols.back(), kWordEnd);
    for (const auto& subword : bpe_.Merge(std::move(symbols))) {
      const int64_t id = bpe_.Find(subword);
      tokens.push_back(id < 0 ? unknown_ : id);
    }
  }
}

std::vector<int64_t> ClipTokenizer::Tokenize(absl::string_view text) const {
  std::vector<int64_t> tokens = {start_};
  while (!text.empty()) {
    size_t at = text.find(start_text_);
    const size_t end_at = text.find(end_text_);
    const bool is_end = end_at < at;
    if (is_end) at = end_at;
    TokenizePlain(text.substr(0, at), tokens);
    if (at == absl::string_view::npos) break;
    tokens.push_back(is_end ? end_ : start_);
    text.remove_prefix(at + (is_end ? end_text_ : start_text_).size());
  }
  tokens.push_back(end_);
  return tokens;
}

std::vector<int64_t> ClipTokenizer::Row(absl::string_view text) const {
  std::vector<int64_t> tokens = Tokenize(text);
  if (tokens.size() > static_cast<size_t>(length_)) {
    tokens.resize(length_);
    tokens.back() = end_;
  }
  tokens.resize(length_, pad_);
  return tokens;
}

}  // namespace promptsweep::worker
