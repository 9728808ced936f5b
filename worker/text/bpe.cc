#include "worker/text/bpe.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <queue>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace promptsweep::worker {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  return text.str();
}

std::string PairKey(absl::string_view left, absl::string_view right) { return absl::StrCat(left, " ", right); }

// A pair of neighbours that may still be merged. Stale once either symbol has changed.
struct Candidate {
  int64_t rank;
  size_t left, right;
  size_t left_length, right_length;
  bool operator<(const Candidate& other) const {  // std::priority_queue pops the largest
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

}  // namespace

absl::StatusOr<Bpe> Bpe::Load(const std::string& vocab_path, const std::string& merges_path) {
  Bpe bpe;
  bpe.vocab_path_ = vocab_path;
  PS_ASSIGN_OR_RETURN(const std::string vocab_text, ReadFile(vocab_path));
  const auto vocab = nlohmann::json::parse(vocab_text, nullptr, /*allow_exceptions=*/false);
  if (!vocab.is_object()) return absl::InvalidArgumentError(absl::StrCat(vocab_path, ": not a JSON object"));
  for (const auto& [subword, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat(vocab_path, ": the id of \"", absl::Utf8SafeCEscape(subword), "\" is not a whole number from 0"));
    }
    bpe.ids_.emplace(subword, id.get<int64_t>());
    bpe.size_ = std::max(bpe.size_, id.get<int64_t>() + 1);
  }
  PS_ASSIGN_OR_RETURN(const std::string merges_text, ReadFile(merges_path));
  std::vector<absl::string_view> lines = absl::StrSplit(merges_text, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<absl::string_view> parts = absl::StrSplit(lines[i], absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (parts.size() == 2) bpe.ranks_[PairKey(parts[0], parts[1])] = static_cast<int64_t>(i);
  }
  return bpe;
}

absl::StatusOr<Bpe> Bpe::Make(const std::string& path, absl::flat_hash_map<std::string, int64_t> ids,
                              const std::vector<std::pair<std::string, std::string>>& merges) {
  Bpe bpe;
  bpe.vocab_path_ = path;
  bpe.ids_ = std::move(ids);
  for (const auto& [subword, id] : bpe.ids_) {
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": the id of \"", absl::Utf8SafeCEscape(subword), "\" is not a whole number from 0"));
    }
    bpe.size_ = std::max(bpe.size_, id + 1);
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    bpe.ranks_[PairKey(merges[i].first, merges[i].second)] = static_cast<int64_t>(i);
  }
  return bpe;
}

std::vector<std::string> Bpe::Merge(std::vector<std::string> symbols) const {
  const size_t n = symbols.size();
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  std::vector<size_t> next(n), previous(n);
  for (size_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 == n ? kNone : i + 1;
  }
  std::priority_queue<Candidate> queue;
  const auto push = [&](size_t left) {
    if (left == kNone || next[left] == kNone) return;
    const size_t right = next[left];
    const auto it = ranks_.find(PairKey(symbols[left], symbols[right]));
    if (it != ranks_.end()) queue.push({it->second, left, right, symbols[left].size(), symbols[right].size()});
  };
  for (size_t i = 0; i < n; ++i) push(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    // A merged symbol is longer and an absorbed one is empty, so lengths tell whether the pair still stands.
    if (symbols[best.left].size() != best.left_length || symbols[best.right].size() != best.right_length) continue;
    symbols[best.left] += symbols[best.right];
    symbols[best.right].clear();
    next[best.left] = next[best.right];
    if (next[best.left] != kNone) previous[next[best.left]] = best.left;
    push(previous[best.left]);
    push(best.left);
  }
  std::vector<std::string> merged;
  for (auto& symbol : symbols) {
    if (!symbol.empty()) merged.push_back(std::move(symbol));
  }
  return merged;
}

int64_t Bpe::Find(absl::string_view subword) const {
  const auto it = ids_.find(subword);
  return it == ids_.end() ? -1 : it->second;
}

absl::StatusOr<int64_t> Bpe::Need(absl::string_view subword) const {
  const int64_t id = Find(subword);
  if (id < 0) return absl::InvalidArgumentError(absl::StrCat(vocab_path_, ": has no \"", subword, "\""));
  return id;
}

std::vector<std::string> SplitCodePoints(absl::string_view utf8) {
  std::vector<std::string> points;
  for (size_t i = 0; i < utf8.size();) {
    size_t end = i + 1;
    while (end < utf8.size() && (static_cast<unsigned char>(utf8[end]) & 0xC0) == 0x80) ++end;
    points.emplace_back(utf8.substr(i, end - i));
    i = end;
  }
  return points;
}

}  // namespace promptsweep::worker
