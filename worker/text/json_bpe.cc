#include "worker/text/json_bpe.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "worker/text/unicode.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

using Json = nlohmann::json;

absl::Status Broken(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::Status Unsupported(const std::string& path, absl::string_view part, const std::string& what) {
  return Broken(path, absl::StrCat("its ", part, " \"", absl::Utf8SafeCEscape(what.substr(0, 80)), "\" is not supported"));
}

// A member, or null.
const Json& Member(const Json& object, const char* key) {
  static const Json& null = *new Json();
  if (!object.is_object()) return null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}
std::string TextOf(const Json& object, const char* key) {
  const Json& member = Member(object, key);
  return member.is_string() ? member.get<std::string>() : "";
}
bool IsTrue(const Json& object, const char* key) { return Member(object, key) == true; }

// {"String": pattern}, or "".
std::string PlainPattern(const Json& object) { return TextOf(Member(object, "pattern"), "String"); }

// Merges are pairs, or texts of two symbols with one space between.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> MergesOf(const std::string& path, const Json& list) {
  std::vector<std::pair<std::string, std::string>> merges;
  if (!list.is_array()) return Broken(path, "model.merges is not a list");
  for (const Json& merge : list) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else if (merge.is_string()) {
      std::vector<std::string> parts = absl::StrSplit(merge.get<std::string>(), ' ');
      if (parts.size() != 2) return Broken(path, "model.merges holds something that is no pair");
      merges.emplace_back(std::move(parts[0]), std::move(parts[1]));
    } else {
      return Broken(path, "model.merges holds something that is no pair");
    }
  }
  return merges;
}

// How many times longer a text may get; Gemma's own step makes three bytes of a space.
constexpr size_t kMaxGrowth = 64;
constexpr size_t kMaxPrefix = 256;

std::string ByteToken(char byte) { return absl::StrFormat("<0x%02X>", static_cast<unsigned char>(byte)); }

}  // namespace

absl::StatusOr<JsonBpe> JsonBpe::Load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in) return Broken(path, "cannot be read");
  const Json json = Json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Broken(path, "not a JSON object");
  const Json& model = Member(json, "model");
  if (const std::string type = TextOf(model, "type"); type != "BPE") return Unsupported(path, "model", type);
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"}) {
    const Json& value = Member(model, key);
    if (!value.is_null() && value != false && value != "" && value != 0) return Unsupported(path, "model's", key);
  }
  if (!Member(model, "vocab").is_object()) return Broken(path, "model.vocab is not an object");
  absl::flat_hash_map<std::string, int64_t> ids;
  for (const auto& [subword, id] : Member(model, "vocab").items()) {
    if (!id.is_number_unsigned()) return Broken(path, "model.vocab holds an id that is not a whole number");
    ids.emplace(subword, id.get<int64_t>());
  }
  PS_ASSIGN_OR_RETURN(const auto merges, MergesOf(path, Member(model, "merges")));
  for (const auto& [left, right] : merges) {
    if (ids.contains(left) && ids.contains(right) && ids.contains(left + right)) continue;
    return Broken(path, absl::StrCat("model.merges makes \"", absl::Utf8SafeCEscape((left + right).substr(0, 80)),
                                     "\" of tokens, or as a token, that model.vocab does not have"));
  }
  PS_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Make(path, std::move(ids), merges));
  JsonBpe made(std::move(bpe));
  made.size_ = made.bpe_.size();
  made.byte_fallback_ = IsTrue(model, "byte_fallback");
  made.fuse_unknown_ = IsTrue(model, "fuse_unk");
  if (const std::string unknown = TextOf(model, "unk_token"); !unknown.empty()) {
    PS_ASSIGN_OR_RETURN(made.unknown_, made.bpe_.Need(unknown));
  }

  if (const Json& added = Member(json, "added_tokens"); added.is_array()) {
    for (const Json& token : added) {
      const std::string content = TextOf(token, "content");
      const Json& id = Member(token, "id");
      if (content.empty() || !id.is_number_unsigned() || id.get<uint64_t>() > (1u << 24))
        return Broken(path, "added_tokens is broken");
      for (const char* key : {"lstrip", "rstrip", "single_word"}) {
        if (IsTrue(token, key)) return Unsupported(path, "added token's", key);
      }
      made.size_ = std::max(made.size_, id.get<int64_t>() + 1);
      AddedSet& set = IsTrue(token, "normalized") ? made.normalized_ : made.raw_;
      set.begins[static_cast<unsigned char>(content[0])] = true;
      set.tokens.push_back({content, id.get<int64_t>()});
    }
  }
  for (auto* set : {&made.raw_, &made.normalized_}) {
    std::stable_sort(set->tokens.begin(), set->tokens.end(),
                     [](const Added& a, const Added& b) { return a.content.size() > b.content.size(); });
  }

  std::vector<const Json*> normalizers;
  if (const Json& normalizer = Member(json, "normalizer"); TextOf(normalizer, "type") == "Sequence") {
    for (const Json& part : Member(normalizer, "normalizers")) normalizers.push_back(&part);
  } else if (!normalizer.is_null()) {
    normalizers.push_back(&normalizer);
  }
  size_t growth = 1;
  for (const Json* part : normalizers) {
    const std::string type = TextOf(*part, "type");
    if (type == "Lowercase") {
      made.steps_.push_back({Step::Kind::kLowercase, "", ""});
    } else if (type == "Prepend") {
      made.steps_.push_back({Step::Kind::kPrepend, "", TextOf(*part, "prepend")});
    } else if (type == "Replace" && !PlainPattern(*part).empty()) {
      made.steps_.push_back({Step::Kind::kReplace, PlainPattern(*part), TextOf(*part, "content")});
      const Step& step = made.steps_.back();
      growth *= std::max<size_t>(1, (step.content.size() + step.pattern.size() - 1) / step.pattern.size());
    } else {
      return Unsupported(path, "normalizer", type);
    }
    if (growth > kMaxGrowth || made.steps_.back().content.size() > kMaxPrefix) {
      return Broken(path, "its normalizer makes texts too long");
    }
  }

  if (const Json& cut = Member(json, "pre_tokenizer"); !cut.is_null()) {
    made.cut_after_ = PlainPattern(cut);
    if (TextOf(cut, "type") != "Split" || TextOf(cut, "behavior") != "MergedWithPrevious" || IsTrue(cut, "invert") ||
        made.cut_after_.empty()) {
      return Unsupported(path, "pre_tokenizer", TextOf(cut, "type"));
    }
  }

  if (const Json& post = Member(json, "post_processor"); !post.is_null()) {
    if (TextOf(post, "type") != "TemplateProcessing") return Unsupported(path, "post_processor", TextOf(post, "type"));
    bool behind = false;
    for (const Json& part : Member(post, "single")) {
      if (!Member(part, "Sequence").is_null()) {
        behind = true;
        continue;
      }
      const std::string token = TextOf(Member(part, "SpecialToken"), "id");
      const int64_t id = made.Find(token);
      if (id < 0)
        return Broken(path, absl::StrCat("post_processor names a token it does not have: ", absl::Utf8SafeCEscape(token)));
      (behind ? made.behind_ : made.before_).push_back(id);
    }
  }
  return made;
}

int64_t JsonBpe::Find(absl::string_view token) const {
  for (const auto* set : {&raw_, &normalized_}) {
    for (const Added& added : set->tokens) {
      if (added.content == token) return added.id;
    }
  }
  return bpe_.Find(token);
}

std::string JsonBpe::Normalize(absl::string_view text, bool lower_case) const {
  std::string normal(text);
  const auto lower = [&] {
    std::string out;
    for (const char32_t c : LowerEach(DecodeUtf8(normal))) AppendUtf8(c, out);
    normal = std::move(out);
  };
  if (lower_case) lower();
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kLowercase:
        lower();
        break;
      case Step::Kind::kPrepend:
        if (!normal.empty()) normal = step.content + normal;
        break;
      case Step::Kind::kReplace:
        absl::StrReplaceAll({{step.pattern, step.content}}, &normal);
        break;
    }
  }
  return normal;
}

std::pair<size_t, const JsonBpe::Added*> JsonBpe::NextOf(const AddedSet& added, absl::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (!added.begins[static_cast<unsigned char>(text[at])]) continue;
    for (const Added& token : added.tokens) {
      if (absl::StartsWith(text.substr(at), token.content)) return {at, &token};
    }
  }
  return {absl::string_view::npos, nullptr};
}

void JsonBpe::TokenizeWord(absl::string_view word, std::vector<int64_t>& ids) const {
  std::vector<std::string> symbols;
  bool after_unknown = false;
  // Unknown characters stand as symbols that no merge knows: NUL and, for one that was counted already, nothing more.
  constexpr char kUnknown[] = "\0unknown";
  for (std::string& character : SplitCodePoints(word)) {
    bool known = bpe_.Find(character) >= 0;
    if (!known && byte_fallback_ &&
        std::all_of(character.begin(), character.end(), [&](char byte) { return bpe_.Find(ByteToken(byte)) >= 0; })) {
      for (const char byte : character) symbols.push_back(ByteToken(byte));
      after_unknown = false;
      continue;
    }
    if (known) {
      symbols.push_back(std::move(character));
    } else if (unknown_ >= 0 && !(fuse_unknown_ && after_unknown)) {
      symbols.emplace_back(kUnknown, sizeof(kUnknown) - 1);
    }
    after_unknown = !known;
  }
  for (const std::string& symbol : bpe_.Merge(std::move(symbols))) {
    const int64_t id = bpe_.Find(symbol);
    ids.push_back(id < 0 ? unknown_ : id);
  }
}

void JsonBpe::TokenizeSegment(absl::string_view normal, std::vector<int64_t>& ids) const {
  while (!normal.empty()) {
    size_t end = cut_after_.empty() ? absl::string_view::npos : normal.find(cut_after_);
    end = end == absl::string_view::npos ? normal.size() : end + cut_after_.size();
    TokenizeWord(normal.substr(0, end), ids);
    normal.remove_prefix(end);
  }
}

std::vector<int64_t> JsonBpe::Tokenize(absl::string_view text, bool lower_case) const {
  std::vector<int64_t> ids;
  // Added tokens part the text; what is between them goes to `rest`.
  const auto part = [&](const AddedSet& added, absl::string_view all, const auto& rest) {
    while (!all.empty()) {
      const auto [at, token] = NextOf(added, all);
      rest(all.substr(0, at));
      if (token == nullptr) return;
      ids.push_back(token->id);
      all.remove_prefix(at + token->content.size());
    }
  };
  part(raw_, text, [&](absl::string_view between) {
    const std::string normal = Normalize(between, lower_case);
    part(normalized_, normal, [&](absl::string_view segment) { TokenizeSegment(segment, ids); });
  });
  return ids;
}

}  // namespace promptsweep::worker
