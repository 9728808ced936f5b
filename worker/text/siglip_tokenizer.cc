#include "worker/text/siglip_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "worker/text/unicode.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

using Json = nlohmann::json;

constexpr char kSpaceMark[] = "\xE2\x96\x81";  // U+2581

// string.punctuation of Python.
bool IsPunctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

std::string Lower(absl::string_view text) {
  std::string lower;
  for (const char32_t c : LowerEach(DecodeUtf8(text))) AppendUtf8(c, lower);
  return lower;
}

// SiglipTokenizer.canonicalize_text.
std::string Canonical(absl::string_view text) {
  std::string canonical;
  bool space = false;
  for (const char32_t c : DecodeUtf8(text)) {
    if (IsPunctuation(c)) continue;
    if (IsPythonSpace(c)) {
      space = !canonical.empty();
      continue;
    }
    if (space) canonical += ' ';
    space = false;
    AppendUtf8(c, canonical);
  }
  return canonical;
}

// The files that describe a tokenizer, the first to say something wins.
struct Descriptions {
  Json map = Json::object(), config = Json::object();

  // The text of a token: a string, or an object with "content".
  std::string Token(const char* key, const std::string& otherwise) const {
    for (const Json* json : {&map, &config}) {
      const auto it = json->find(key);
      if (it == json->end()) continue;
      if (it->is_string()) return it->get<std::string>();
      if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) return (*it)["content"].get<std::string>();
    }
    return otherwise;
  }
  bool Flag(const char* key, bool otherwise) const {
    const auto it = config.find(key);
    return it == config.end() || !it->is_boolean() ? otherwise : it->get<bool>();
  }
  std::string Text(const char* key, const std::string& otherwise) const {
    const auto it = config.find(key);
    return it == config.end() || !it->is_string() ? otherwise : it->get<std::string>();
  }
};

absl::StatusOr<Json> ObjectIfPresent(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json::object();
  std::ifstream in(path, std::ios::binary);
  Json json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  return json;
}

}  // namespace

absl::StatusOr<SiglipTokenizer> SiglipTokenizer::Load(const std::string& folder, int64_t length) {
  std::error_code error;
  Descriptions said;
  PS_ASSIGN_OR_RETURN(said.map, ObjectIfPresent(folder + "/special_tokens_map.json"));
  PS_ASSIGN_OR_RETURN(said.config, ObjectIfPresent(folder + "/tokenizer_config.json"));
  const std::string model = folder + "/spiece.model", file = folder + "/tokenizer.json";
  const std::string kind = said.Text("tokenizer_class", "");
  const bool has_model = std::filesystem::exists(model, error);
  bool gemma = kind == "GemmaTokenizer" || kind == "GemmaTokenizerFast" || kind == "Siglip2Tokenizer";
  if (kind.empty()) gemma = !has_model && !SentencePiece::LoadJson(file).ok();
  if (!gemma && !kind.empty() && kind != "SiglipTokenizer" && kind != "SiglipTokenizerFast") {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/tokenizer_config.json: tokenizer_class is neither SiglipTokenizer nor GemmaTokenizer"));
  }
  SiglipTokenizer made;
  made.length_ = length;
  made.lower_case_ = said.Flag("do_lower_case", true);
  if (gemma) {
    made.path_ = file;
    PS_ASSIGN_OR_RETURN(JsonBpe bpe, JsonBpe::Load(file));
    made.bpe_ = std::make_shared<const JsonBpe>(std::move(bpe));
    const auto need = [&](const char* key, const std::string& otherwise) -> absl::StatusOr<int64_t> {
      const std::string token = said.Token(key, otherwise);
      const int64_t id = made.bpe_->Find(token);
      if (id < 0) return absl::InvalidArgumentError(absl::StrCat(file, ": has no \"", token, "\""));
      return id;
    };
    PS_ASSIGN_OR_RETURN(made.pad_, need("pad_token", "<pad>"));
    made.before_ = made.bpe_->before();
    made.behind_ = made.bpe_->behind();
    // The class puts its own tokens around a text, whatever the file's template says.
    if (!kind.empty() || said.config.contains("add_bos_token") || said.config.contains("add_eos_token")) {
      made.before_.clear();
      made.behind_.clear();
      if (said.Flag("add_bos_token", kind != "Siglip2Tokenizer")) {
        PS_ASSIGN_OR_RETURN(const int64_t id, need("bos_token", "<bos>"));
        made.before_.push_back(id);
      }
      if (said.Flag("add_eos_token", kind == "Siglip2Tokenizer")) {
        PS_ASSIGN_OR_RETURN(const int64_t id, need("eos_token", "<eos>"));
        made.behind_.push_back(id);
      }
    }
    made.pad_left_ = said.Text("padding_side", kind.empty() || kind == "Siglip2Tokenizer" ? "right" : "left") == "left";
  } else {
    made.path_ = has_model ? model : file;
    PS_ASSIGN_OR_RETURN(SentencePiece pieces, has_model ? SentencePiece::LoadModel(model) : SentencePiece::LoadJson(file));
    made.pieces_ = std::make_shared<const SentencePiece>(std::move(pieces));
    const std::string end = said.Token("eos_token", "</s>"), pad = said.Token("pad_token", "</s>");
    made.unknown_text_ = said.Token("unk_token", "<unk>");
    for (const std::string& token : {end, pad, made.unknown_text_}) {
      if (!made.pieces_->Has(token)) return absl::InvalidArgumentError(absl::StrCat(made.path_, ": has no \"", token, "\""));
      if (!token.empty()) made.specials_.push_back(token);
    }
    made.end_ = made.pieces_->Id(end);
    made.pad_ = made.pieces_->Id(pad);
    made.unknown_pieces_ = made.pieces_->Encode(made.unknown_text_).size();
    made.pad_left_ = said.Text("padding_side", "right") == "left";
  }
  if (static_cast<int64_t>(made.before_.size() + made.behind_.size()) >= length) {
    return absl::InvalidArgumentError(absl::StrCat(made.path_, ": a row of ", length, " has no room for a text"));
  }
  return made;
}

void SiglipTokenizer::AppendSegment(const std::string& text, std::vector<std::string>& pieces) const {
  // Encoded behind the unknown token's text, or SentencePiece would drop the mark at the front; that text's pieces are then cut
  // off.
  auto encoded = pieces_->Encode(unknown_text_ + Canonical(text));
  const size_t skip = encoded.size() >= unknown_pieces_ ? unknown_pieces_ : 0;
  pieces.insert(pieces.end(), std::make_move_iterator(encoded.begin() + static_cast<std::ptrdiff_t>(skip)),
                std::make_move_iterator(encoded.end()));
}

std::vector<int64_t> SiglipTokenizer::TokenizePieces(absl::string_view text) const {
  std::string marked = kSpaceMark + absl::StrReplaceAll(text, {{kSpaceMark, " "}});
  if (lower_case_) marked = Lower(marked);
  std::vector<std::string> pieces;
  absl::string_view rest = marked;
  while (!rest.empty()) {
    size_t at = absl::string_view::npos;
    const std::string* found = nullptr;
    for (const std::string& special : specials_) {
      const size_t here = rest.find(special);
      if (here < at || (here == at && found != nullptr && special.size() > found->size())) {
        at = here;
        found = &special;
      }
    }
    if (at != 0) AppendSegment(std::string(rest.substr(0, at)), pieces);
    if (found == nullptr) break;
    pieces.push_back(*found);
    rest.remove_prefix(at + found->size());
  }
  const bool lone_mark =
      pieces.size() > 1 && pieces[0] == kSpaceMark && std::find(specials_.begin(), specials_.end(), pieces[1]) != specials_.end();
  std::vector<int64_t> ids;
  for (size_t i = lone_mark ? 1 : 0; i < pieces.size(); ++i) ids.push_back(pieces_->Id(pieces[i]));
  return ids;
}

std::vector<int64_t> SiglipTokenizer::Tokenize(absl::string_view text) const {
  if (pieces_) {
    std::vector<int64_t> ids = TokenizePieces(text);
    if (ids.empty() || ids.back() != end_) ids.push_back(end_);
    return ids;
  }
  std::vector<int64_t> ids = before_;
  for (const int64_t id : bpe_->Tokenize(text, lower_case_)) ids.push_back(id);
  ids.insert(ids.end(), behind_.begin(), behind_.end());
  return ids;
}

std::vector<int64_t> SiglipTokenizer::Row(absl::string_view text) const {
  std::vector<int64_t> ids;
  const auto length = static_cast<size_t>(length_);
  if (pieces_) {
    ids = TokenizePieces(text);
    if (ids.size() > length - 1) ids.resize(length - 1);
    if (ids.empty() || ids.back() != end_) ids.push_back(end_);
  } else {
    ids = bpe_->Tokenize(text, lower_case_);
    if (ids.size() > length - before_.size() - behind_.size()) ids.resize(length - before_.size() - behind_.size());
    ids.insert(ids.begin(), before_.begin(), before_.end());
    ids.insert(ids.end(), behind_.begin(), behind_.end());
  }
  ids.insert(pad_left_ ? ids.begin() : ids.end(), length - ids.size(), pad_);
  return ids;
}

}  // namespace promptsweep::worker
