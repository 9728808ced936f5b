// A 256-bit perceptual hash of a picture, compatible with Meta's PDQ: pictures that look alike differ in few bits. Definition:
// https://github.com/facebook/ThreatExchange/tree/main/pdq (hashing.pdf); pip's pdqhash is the reference of the tests. Pure
// functions of pixels; thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "worker/pipeline/image_codec.h"

namespace promptsweep::motifs {

inline constexpr int kHashBits = 256;
// Meta's: pictures whose hashes differ in at most so many bits are taken for one picture ...
inline constexpr int kSamePictureBits = 31;
// ... where both are rich enough in detail for their hashes to mean something.
inline constexpr int kLeastQuality = 50;

struct PerceptualHash {
  // Bit 16 i + j (word by word, lowest first) is set where the cosine coefficient of vertical frequency i + 1 and horizontal
  // frequency j + 1 is above the median of the 256.
  std::array<uint64_t, kHashBits / 64> words{};
  // 0 (plain) to 100: how much detail the hash rests on.
  int quality = 0;
};

// Of a picture of any size; sides below 5 pixels give an empty hash of quality 0.
[[nodiscard]] PerceptualHash HashPicture(const worker::Image& image);

// Differing bits, 0..256.
[[nodiscard]] int Distance(const PerceptualHash& a, const PerceptualHash& b);

}  // namespace promptsweep::motifs
