#include "jobs/motifs/copies/hash_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace promptsweep::motifs {
namespace {

constexpr int kBands = 16, kBandBits = kHashBits / kBands;

uint16_t BandOf(const PerceptualHash& hash, int band) {
  return static_cast<uint16_t>(hash.words[band / 4] >> (kBandBits * (band % 4)));
}

}  // namespace

std::vector<std::pair<uint32_t, uint32_t>> PairsWithin(absl::Span<const PerceptualHash> hashes, int bits) {
  PS_CHECK(bits < 2 * kBands);
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const uint32_t n = static_cast<uint32_t>(hashes.size());
  // Hashes sorted by their value in one band: `order` of value v is at begin[v] .. begin[v + 1].
  std::vector<uint32_t> begin, order(n), next;
  for (int band = 0; band < kBands; ++band) {
    begin.assign((1 << kBandBits) + 1, 0);
    for (const PerceptualHash& hash : hashes) ++begin[BandOf(hash, band) + 1];
    for (size_t v = 1; v < begin.size(); ++v) begin[v] += begin[v - 1];
    next.assign(begin.begin(), begin.end() - 1);
    for (uint32_t i = 0; i < n; ++i) order[next[BandOf(hashes[i], band)]++] = i;

    // A pair is reported by the first band that finds it.
    const auto found_before = [&](uint32_t i, uint32_t j) {
      for (int b = 0; b < band; ++b) {
        if (std::popcount<unsigned>(BandOf(hashes[i], b) ^ BandOf(hashes[j], b)) <= 1) return true;
      }
      return false;
    };
    for (uint32_t i = 0; i < n; ++i) {
      for (int flip = -1; flip < kBandBits; ++flip) {
        const uint32_t value = BandOf(hashes[i], band) ^ (flip < 0 ? 0u : 1u << flip);
        for (uint32_t at = begin[value]; at < begin[value + 1]; ++at) {
          const uint32_t j = order[at];
          if (j > i && !found_before(i, j) && Distance(hashes[i], hashes[j]) <= bits) pairs.emplace_back(i, j);
        }
      }
    }
  }
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

}  // namespace promptsweep::motifs
