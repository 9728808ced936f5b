#include "jobs/motifs/statistics/pairing.h"

#include <algorithm>
#include <unordered_map>

#include "base/hash.h"

namespace promptsweep::motifs {
namespace {

bool SeveralModels(const std::vector<Asked>& questions) {
  return std::any_of(questions.begin(), questions.end(), [&](const Asked& q) { return q.model != questions[0].model; });
}

std::vector<uint64_t> Keys(const std::vector<Asked>& questions, uint64_t Asked::* part, bool model) {
  std::vector<uint64_t> keys;
  keys.reserve(questions.size());
  for (const Asked& question : questions) {
    const uint64_t parts[2] = {question.*part, question.model};
    keys.push_back(parts[0] != 0 && model ? Xxh3({reinterpret_cast<const char*>(parts), sizeof parts}) : parts[0]);
  }
  return keys;
}

}  // namespace

Pairing PairUp(const std::vector<uint64_t>& first, const std::vector<uint64_t>& second) {
  constexpr uint32_t kSeveral = UINT32_MAX;
  const auto once = [](const std::vector<uint64_t>& keys) {
    std::unordered_map<uint64_t, uint32_t> at;
    for (uint32_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == 0) continue;
      const auto [entry, is_new] = at.emplace(keys[i], i);
      if (!is_new) entry->second = kSeveral;
    }
    return at;
  };
  const auto in_first = once(first), in_second = once(second);
  Pairing pairing;
  for (uint32_t i = 0; i < first.size(); ++i) {
    const auto own = in_first.find(first[i]);
    if (own == in_first.end() || own->second == kSeveral) continue;
    const auto other = in_second.find(first[i]);
    if (other != in_second.end() && other->second != kSeveral) pairing.pairs.emplace_back(i, other->second);
  }
  pairing.first_alone = first.size() - pairing.pairs.size();
  pairing.second_alone = second.size() - pairing.pairs.size();
  return pairing;
}

Pairing PairAsked(const std::vector<Asked>& first, const std::vector<Asked>& second, bool with_columns) {
  const bool model = SeveralModels(first) || SeveralModels(second);
  Pairing exact = PairUp(Keys(first, &Asked::exact, model), Keys(second, &Asked::exact, model));
  if (!with_columns) return exact;
  Pairing loose = PairUp(Keys(first, &Asked::loose, model), Keys(second, &Asked::loose, model));
  return loose.pairs.size() > exact.pairs.size() ? loose : exact;
}

bool WorthPairing(const Pairing& pairing) {
  const uint64_t pairs = pairing.pairs.size();
  return pairs > 0 && 2 * pairs >= pairs + std::min(pairing.first_alone, pairing.second_alone);
}

}  // namespace promptsweep::motifs
