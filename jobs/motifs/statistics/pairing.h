// Which runs of two groups are one question asked of both. Pure functions.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace promptsweep::motifs {

// What one run was asked, as hashes; 0 where that is not known (an imported row without a seed).
struct Asked {
  // Prompt, seed and settings, without those that tell the groups apart and without the model.
  uint64_t exact = 0;
  // Prompt and seed alone.
  uint64_t loose = 0;
  uint64_t model = 0;
};

struct Pairing {
  // (first, second) positions, ascending by the first.
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  // Runs without a partner.
  uint64_t first_alone = 0;
  uint64_t second_alone = 0;
};

// Pairs runs whose keys are equal. A key that several runs of one group share pairs none of them: which belongs to which is not
// known. Runs with key 0 have no partner. Fewer than 2^32 runs each.
[[nodiscard]] Pairing PairUp(const std::vector<uint64_t>& first, const std::vector<uint64_t>& second);

// Pairs runs that were asked the same. The model counts where either group has several. `with_columns`: settings are columns of
// imported rows and may be mere remarks, so the loose key decides where it pairs more runs.
[[nodiscard]] Pairing PairAsked(const std::vector<Asked>& first, const std::vector<Asked>& second, bool with_columns);

// True where at least half of the smaller group's runs have a partner: then pairs are compared, else groups.
[[nodiscard]] bool WorthPairing(const Pairing& pairing);

}  // namespace promptsweep::motifs
