// All pairs of pictures whose perceptual hashes differ in few bits, without comparing all pairs.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "jobs/motifs/copies/perceptual_hash.h"

namespace promptsweep::motifs {

// Pairs (i, j), i < j, ascending, that differ in at most `bits` <= 31 bits: exactly those that comparing all would give. A hash
// is cut into 16 bands of 16 bits; two hashes within 31 bits have a band in which they differ in at most one bit, so it is enough
// to look each band up as it is and with each of its bits flipped (17 look-ups a band).
[[nodiscard]] std::vector<std::pair<uint32_t, uint32_t>> PairsWithin(absl::Span<const PerceptualHash> hashes,
                                                                     int bits = kSamePictureBits);

}  // namespace promptsweep::motifs
