#include "worker/text/emoji.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

constexpr char32_t kJoiner = 0x200D;
constexpr absl::string_view kLines =
#include "worker/text/emoji_names.inc"
    ;
constexpr std::array<std::pair<const char*, const char*>, 5> kTones = {{{"🏻", "light_skin_tone"},
                                                                        {"🏼", "medium-light_skin_tone"},
                                                                        {"🏽", "medium_skin_tone"},
                                                                        {"🏾", "medium-dark_skin_tone"},
                                                                        {"🏿", "dark_skin_tone"}}};

// The emoji by their code points.
class Names {
 public:
  Names() {
    for (absl::string_view line : absl::StrSplit(kLines, '\n', absl::SkipEmpty())) {
      const bool component = absl::ConsumePrefix(&line, "!");
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      for (size_t i = 1; i < words.size(); ++i) AddSlots(words[i], words[0], component);
    }
  }

  struct Node {
    std::string name;  // empty where no emoji ends
    bool component = false;
  };
  // From the root (0) or a node on; -1 where nothing goes on that way.
  int32_t Next(int32_t node, char32_t c) const {
    const auto it = edges_.find(Edge(node, c));
    return it == edges_.end() ? -1 : it->second;
  }
  const Node& node(int32_t index) const { return nodes_[index]; }

 private:
  static uint64_t Edge(int32_t node, char32_t c) { return static_cast<uint64_t>(node) << 32 | c; }

  // '~' in a sequence is any of five tones; see make_tables.py.
  void AddSlots(const std::string& sequence, const std::string& name, bool component) {
    const size_t first = sequence.find('~');
    if (first == std::string::npos) return Add(sequence, name, component);
    const size_t second = sequence.find('~', first + 1);
    const bool unequal = absl::StrContains(name, '^');
    const char* const mark = unequal ? "^" : "~";
    for (const auto& [tone, tone_name] : kTones) {
      std::string one = sequence;
      if (second == std::string::npos) {
        Add(one.replace(first, 1, tone), absl::StrReplaceAll(name, {{mark, tone_name}}), component);
        continue;
      }
      for (const auto& [other, other_name] : kTones) {
        const bool equal = std::string(other) == tone;
        if (equal && unequal) continue;
        std::string two = sequence;
        two.replace(second, 1, other).replace(first, 1, tone);
        const std::string tones = equal ? tone_name : absl::StrCat(tone_name, "_", other_name);
        Add(two, absl::StrReplaceAll(name, {{mark, tones}}), component);
      }
    }
  }

  void Add(const std::string& sequence, const std::string& name, bool component) {
    int32_t at = 0;
    for (const char32_t c : DecodeUtf8(sequence)) {
      const auto [it, added] = edges_.emplace(Edge(at, c), static_cast<int32_t>(nodes_.size()));
      if (added) nodes_.emplace_back();
      at = it->second;
    }
    nodes_[at] = {name, component};
  }

  absl::flat_hash_map<uint64_t, int32_t> edges_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
};

// A piece of the text: an emoji (node above 0) or one character.
struct Token {
  size_t begin;
  int32_t node;
};

}  // namespace

// The steps are those of emoji.tokenizer.tokenize, in its order: what it does at odd places (a joiner after a skin tone, an emoji
// cut by one) shows in the text.
std::string SpellEmoji(absl::string_view text, absl::string_view before, absl::string_view after) {
  static const Names& names = *new Names;
  const std::vector<char32_t> points = DecodeUtf8(text);
  std::string out;
  std::vector<Token> waiting;
  std::vector<bool> ignored(points.size());
  const auto flush = [&] {
    for (const Token& token : waiting) {
      if (token.node > 0) {
        absl::StrAppend(&out, before, names.node(token.node).name, after);
      } else {
        AppendUtf8(points[token.begin], out);
      }
    }
    waiting.clear();
  };
  // The last piece where it is an emoji, also where it was taken for a character because a longer one seemed to begin there.
  const auto emoji_at_end = [&]() -> const Names::Node* {
    if (waiting.empty()) return nullptr;
    const int32_t node = waiting.back().node > 0 ? waiting.back().node : names.Next(0, points[waiting.back().begin]);
    return node > 0 && !names.node(node).name.empty() ? &names.node(node) : nullptr;
  };
  for (size_t i = 0; i < points.size();) {
    const char32_t c = points[i];
    if (ignored[i]) {
      if (c == kJoiner) waiting.push_back({i, 0});
      ++i;
      continue;
    }
    bool consumed = false;
    if (int32_t node = names.Next(0, c); node >= 0) {
      size_t end = i + 1;
      for (int32_t next; end < points.size() && !ignored[end] && (next = names.Next(node, points[end])) >= 0; ++end) node = next;
      if (!names.node(node).name.empty()) {
        waiting.push_back({i, node});
        i = end - 1;
        consumed = true;
      }
    } else if (const Names::Node* last = c == kJoiner ? emoji_at_end() : nullptr;
               last != nullptr && names.Next(0, points[i - 1]) >= 0) {
      // Not part of the emoji before it: read that one again, up to here.
      ignored[i] = true;
      if (last->component) {
        const size_t last_two = std::min<size_t>(2, waiting.size());
        i = waiting[waiting.size() - last_two].begin;
        if (points[i] == kJoiner) {
          ++i;
          waiting.pop_back();
        } else {
          waiting.resize(waiting.size() - last_two);
        }
      } else {
        i = waiting.back().begin;
        waiting.pop_back();
      }
      continue;
    } else if (!waiting.empty()) {
      flush();
    }
    if (!consumed && c != 0xFE0E && c != 0xFE0F) waiting.push_back({i, 0});
    ++i;
  }
  flush();
  return out;
}

}  // namespace promptsweep::worker
