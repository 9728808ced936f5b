#include "worker/text/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace promptsweep::worker {
namespace {

constexpr char kSpace[] = "\xE2\x96\x81";  // U+2581
constexpr char kReplacement[] = "\xEF\xBF\xBD";
constexpr float kUnknownPenalty = 10;
constexpr int64_t kMaxPieces = 1 << 24;
// A trie's memory, and how much longer the character map may make a text. The longest of nmt_nfkc's are 33 bytes.
constexpr size_t kMaxPiece = 512, kMaxMapped = 256;

absl::Status Broken(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in) return Broken(path, "cannot be read");
  return text.str();
}

// One field of a protobuf message.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;  // of varint and fixed fields
  absl::string_view bytes;
};

// Takes fields from the front; nothing at the end or, then with ok() false, where the bytes are no message.
class Fields {
 public:
  explicit Fields(absl::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  std::optional<Field> Next() {
    if (rest_.empty()) return std::nullopt;
    Field field;
    const uint64_t key = Varint();
    field.number = static_cast<uint32_t>(key >> 3);
    switch (key & 7) {
      case 0:
        field.value = Varint();
        break;
      case 1:
        field.bytes = Take(8);
        break;
      case 2:
        field.bytes = Take(Varint());
        break;
      case 5:
        field.bytes = Take(4);
        break;
      default:
        ok_ = false;
    }
    if (!ok_) return std::nullopt;
    return field;
  }

 private:
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  absl::string_view Take(uint64_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  absl::string_view rest_;
  bool ok_ = true;
};

float FloatOf(absl::string_view bytes) {
  float value = 0;
  if (bytes.size() == sizeof(value)) std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// Length of the character at the front, or 0 where it is not UTF-8.
size_t CharacterLength(absl::string_view s) {
  const auto lead = static_cast<unsigned char>(s[0]);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xC2 && lead < 0xE0 ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  if (length == 0 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

// A text member, or "".
std::string TextOf(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<std::string> CharacterMapOf(const nlohmann::json& normalizer) {
  const std::string type = TextOf(normalizer, "type");
  if (type == "Precompiled") return TextOf(normalizer, "precompiled_charsmap");
  if (type == "Sequence" && normalizer.contains("normalizers") && normalizer["normalizers"].is_array()) {
    for (const auto& part : normalizer["normalizers"]) {
      if (TextOf(part, "type") == "Precompiled") return CharacterMapOf(part);
    }
  }
  return std::nullopt;
}

}  // namespace

absl::Status SentencePiece::Add(const std::string& path, std::string piece, float score, Type type) {
  if (piece.empty() || !std::isfinite(score)) return Broken(path, "holds an empty piece, or a score that is no number");
  if (piece.size() > kMaxPiece) return Broken(path, absl::StrCat("holds a piece of over ", kMaxPiece, " bytes"));
  if (type == Type::kUserDefined || type == Type::kByte) {
    return Broken(path,
                  absl::StrCat("piece \"", absl::Utf8SafeCEscape(piece), "\" is user-defined or a byte, which is not supported"));
  }
  const auto id = static_cast<int64_t>(scores_.size());
  if (id >= kMaxPieces) return Broken(path, "holds too many pieces");
  if (!ids_.emplace(piece, id).second) return Broken(path, absl::StrCat("holds \"", absl::Utf8SafeCEscape(piece), "\" twice"));
  scores_.push_back(score);
  if (type == Type::kUnknown) {
    if (unknown_ >= 0) return Broken(path, "holds two unknown pieces");
    unknown_ = id;
  }
  if (type != Type::kNormal) return absl::OkStatus();
  min_score_ = std::min(min_score_, score);
  if (ends_.empty()) ends_.push_back(-1);
  uint32_t node = 0;
  for (const char c : piece) {
    const auto [it, added] =
        children_.try_emplace(uint64_t{node} << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(ends_.size()));
    if (added) ends_.push_back(-1);
    node = it->second;
  }
  ends_[node] = id;
  return absl::OkStatus();
}

absl::Status SentencePiece::Finish(const std::string& path) {
  if (unknown_ < 0) return Broken(path, "has no unknown piece");
  if (ends_.empty()) return Broken(path, "has no pieces");
  return absl::OkStatus();
}

absl::Status SentencePiece::SetCharacterMap(const std::string& path, absl::string_view blob) {
  if (blob.empty()) return absl::OkStatus();
  uint32_t bytes = 0;
  if (blob.size() > sizeof(bytes)) std::memcpy(&bytes, blob.data(), sizeof(bytes));
  if (bytes == 0 || bytes % sizeof(uint32_t) != 0 || bytes >= blob.size() - sizeof(bytes) || blob.back() != '\0') {
    return Broken(path, "its character map is broken");
  }
  map_units_.resize(bytes / sizeof(uint32_t));
  std::memcpy(map_units_.data(), blob.data() + sizeof(bytes), bytes);
  map_texts_ = std::string(blob.substr(sizeof(bytes) + bytes));
  for (const absl::string_view mapped : absl::StrSplit(map_texts_, '\0')) {
    if (mapped.size() > kMaxMapped)
      return Broken(path, absl::StrCat("its character map makes over ", kMaxMapped, " bytes of one"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SentencePiece> SentencePiece::LoadModel(const std::string& path) {
  PS_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  SentencePiece model;
  model.min_score_ = std::numeric_limits<float>::max();
  uint64_t kind = 1, fallback = 0, suffix = 0;
  absl::string_view character_map;
  bool whole = true;
  Fields fields(file);
  while (const auto field = fields.Next()) {
    Fields inner(field->bytes);
    if (field->number == 1) {
      std::string piece;
      float score = 0;
      uint64_t type = 1;
      while (const auto part = inner.Next()) {
        if (part->number == 1) piece = std::string(part->bytes);
        if (part->number == 2) score = FloatOf(part->bytes);
        if (part->number == 3) type = part->value;
      }
      if (type < 1 || type > 6) return Broken(path, "holds a piece of an unknown type");
      PS_RETURN_IF_ERROR(model.Add(path, std::move(piece), score, static_cast<Type>(type)));
    } else if (field->number == 2) {
      while (const auto part = inner.Next()) {
        if (part->number == 3) kind = part->value;
        if (part->number == 24) suffix = part->value;
        if (part->number == 35) fallback = part->value;
      }
    } else if (field->number == 3) {
      while (const auto part = inner.Next()) {
        if (part->number == 2) character_map = part->bytes;
        if (part->number == 4) model.remove_extra_spaces_ = part->value != 0;
        if (part->number == 5) model.escape_spaces_ = part->value != 0;
      }
    }
    whole = whole && inner.ok();
  }
  if (!whole || !fields.ok()) return Broken(path, "is not a SentencePiece model");
  if (kind != 1 || fallback != 0 || suffix != 0) return Broken(path, "is not a unigram model without byte fallback");
  PS_RETURN_IF_ERROR(model.SetCharacterMap(path, character_map));
  PS_RETURN_IF_ERROR(model.Finish(path));
  return model;
}

absl::StatusOr<SentencePiece> SentencePiece::LoadJson(const std::string& path) {
  PS_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) return Broken(path, "not a tokenizer");
  const auto& unigram = json["model"];
  const auto unknown = unigram.find("unk_id");
  if (TextOf(unigram, "type") != "Unigram" || !unigram.contains("vocab") || !unigram["vocab"].is_array() ||
      unknown == unigram.end() || !unknown->is_number_unsigned()) {
    return Broken(path, "its model is not Unigram with an unk_id");
  }
  if (unigram.contains("byte_fallback") && unigram["byte_fallback"] != false)
    return Broken(path, "byte_fallback is not supported");
  absl::flat_hash_map<std::string, bool> special;
  if (json.contains("added_tokens") && json["added_tokens"].is_array()) {
    for (const auto& token : json["added_tokens"]) {
      if (!token.is_object() || !token.contains("content") || !token["content"].is_string())
        return Broken(path, "added_tokens is broken");
      special[token["content"].get<std::string>()] = true;
    }
  }
  SentencePiece model;
  model.min_score_ = std::numeric_limits<float>::max();
  for (const auto& entry : unigram["vocab"]) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return Broken(path, "its vocabulary is not pairs of a piece and a score");
    }
    auto piece = entry[0].get<std::string>();
    const bool is_unknown = model.scores_.size() == unknown->get<uint64_t>();
    const Type type = is_unknown ? Type::kUnknown : special.contains(piece) ? Type::kControl : Type::kNormal;
    PS_RETURN_IF_ERROR(model.Add(path, std::move(piece), static_cast<float>(entry[1].get<double>()), type));
  }
  if (json.contains("normalizer")) {
    if (const auto encoded = CharacterMapOf(json["normalizer"])) {
      std::string blob;
      if (!absl::Base64Unescape(*encoded, &blob)) return Broken(path, "precompiled_charsmap is not base64");
      PS_RETURN_IF_ERROR(model.SetCharacterMap(path, blob));
    }
  }
  PS_RETURN_IF_ERROR(model.Finish(path));
  return model;
}

std::pair<absl::string_view, size_t> SentencePiece::NormalizePrefix(absl::string_view text) const {
  size_t longest = 0;
  uint32_t value = 0;
  // A double array: a unit holds its label, whether a value hangs below it, and the offset to its children.
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  if (!map_units_.empty()) {
    uint32_t at = offset(map_units_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      at ^= byte;
      if (at >= map_units_.size()) break;
      const uint32_t unit = map_units_[at];
      if ((unit & ((1u << 31) | 0xFF)) != byte) break;
      at ^= offset(unit);
      if (at >= map_units_.size()) break;
      if ((unit >> 8 & 1) != 0) {
        longest = i + 1;
        value = map_units_[at] & ((1u << 31) - 1);
      }
    }
  }
  if (longest > 0 && value < map_texts_.size()) return {absl::string_view(map_texts_.c_str() + value), longest};
  const size_t length = CharacterLength(text);
  if (length == 0) return {kReplacement, 1};
  return {text.substr(0, length), length};
}

std::string SentencePiece::Normalize(absl::string_view text) const {
  std::string normal;
  if (remove_extra_spaces_) {
    while (!text.empty()) {
      const auto [prefix, length] = NormalizePrefix(text);
      if (prefix != " ") break;
      text.remove_prefix(length);
    }
  }
  bool after_space = remove_extra_spaces_;
  while (!text.empty()) {
    auto [prefix, length] = NormalizePrefix(text);
    while (after_space && absl::ConsumePrefix(&prefix, " ")) {
    }
    for (const char c : prefix) {
      if (c == ' ' && escape_spaces_) {
        normal += kSpace;
      } else {
        normal += c;
      }
    }
    if (!prefix.empty()) after_space = absl::EndsWith(prefix, " ");
    if (!remove_extra_spaces_) after_space = false;
    text.remove_prefix(length);
  }
  if (remove_extra_spaces_) {
    const absl::string_view space = escape_spaces_ ? kSpace : " ";
    while (absl::EndsWith(normal, space)) normal.resize(normal.size() - space.size());
  }
  return normal;
}

std::vector<std::string> SentencePiece::Encode(absl::string_view text) const {
  const std::string normal = Normalize(text);
  struct End {
    int64_t begin = -1;
    float score = 0;
    bool known = false;
  };
  // Sums are compared as the reference does: pieces' in double against a stored float, unknown characters' in float.
  std::vector<End> ends(normal.size() + 1);
  const float unknown_score = min_score_ - kUnknownPenalty;
  for (size_t begin = 0; begin < normal.size();) {
    const float till_here = ends[begin].score;
    const size_t character = std::max<size_t>(1, CharacterLength(absl::string_view(normal).substr(begin)));
    bool single = false;
    uint32_t node = 0;
    for (size_t end = begin; end < normal.size();) {
      const auto child = children_.find(uint64_t{node} << 8 | static_cast<unsigned char>(normal[end]));
      if (child == children_.end()) break;
      node = child->second;
      ++end;
      if (ends_[node] < 0) continue;
      const double score = double{scores_[ends_[node]]} + till_here;
      if (ends[end].begin < 0 || score > ends[end].score) {
        ends[end] = {static_cast<int64_t>(begin), static_cast<float>(score), true};
      }
      single = single || end - begin == character;
    }
    End& next = ends[begin + character];
    if (const float score = unknown_score + till_here; !single && (next.begin < 0 || score > next.score)) {
      next = {static_cast<int64_t>(begin), score, false};
    }
    begin += character;
  }
  std::vector<std::pair<size_t, size_t>> cuts;
  for (size_t end = normal.size(); end > 0; end = static_cast<size_t>(ends[end].begin)) {
    cuts.emplace_back(static_cast<size_t>(ends[end].begin), end);
  }
  std::vector<std::string> pieces;
  bool after_unknown = false;
  for (auto it = cuts.rbegin(); it != cuts.rend(); ++it) {
    const std::string piece = normal.substr(it->first, it->second - it->first);
    const bool is_unknown = !ends[it->second].known;
    if (is_unknown && after_unknown) {
      pieces.back() += piece;
    } else {
      pieces.push_back(piece);
    }
    after_unknown = is_unknown;
  }
  return pieces;
}

int64_t SentencePiece::Id(absl::string_view piece) const {
  const auto it = ids_.find(piece);
  return it == ids_.end() ? unknown_ : it->second;
}

}  // namespace promptsweep::worker
