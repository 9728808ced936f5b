// Packed embeddings: the value of one row of the family embedding_chunks. DO NOT CHANGE the layout, see schema.h.
//
// Integers are big-endian, vectors little-endian halves. Offsets in bytes:
//   0  magic "PSEC"      4  version (1)       5  type (1: half floats)   6  embedder, u16
//   8  sweep, u32       12  dimensions, u32  16  first ordinal, u64     24  vectors, u32
//  28  zeros            56  XXH3-64 of what follows the header, seeded by the XXH3-64 of bytes 0..55
//  64  presence: bit i % 8 of byte i / 8 says whether ordinal first + i has a vector; 1024 bits
// 192  the vectors, in ordinal order, without gaps
// The key is repeated inside so that a value is worth nothing under another key, and every byte is under the checksum.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "store/schema.h"

namespace promptsweep::store {

inline constexpr size_t kChunkHeaderBytes = 64;
inline constexpr size_t kChunkVectors = 192;
// Ordinals a chunk is about.
inline constexpr uint64_t kChunkOrdinals = uint64_t{1} << kEmbeddingChunkBits;

// A set of the ordinals of one chunk: bit i % 64 of word i / 64 is the chunk's i-th ordinal.
using ChunkBits = std::array<uint64_t, kChunkOrdinals / 64>;

// A value that was found whole: a view, valid as long as its bytes are. Thread-safe.
class EmbeddingChunk {
 public:
  // DATA_LOSS where any byte is not what Build made for this key. Reads nothing beyond `value`, whatever it holds.
  [[nodiscard]] static absl::StatusOr<EmbeddingChunk> Parse(absl::string_view value, uint16_t embedder, uint32_t sweep,
                                                            uint64_t chunk);

  uint32_t dim() const { return dim_; }
  // At least 1.
  uint32_t count() const { return before_.back(); }
  uint64_t first_ordinal() const { return first_; }
  const ChunkBits& present() const { return present_; }
  bool Has(uint64_t ordinal) const {
    const uint64_t i = ordinal - first_;
    return i < kChunkOrdinals && (present_[i / 64] >> (i % 64) & 1) != 0;
  }
  // Vectors of ordinals below `ordinal`.
  uint32_t Rank(uint64_t ordinal) const;
  // `count` vectors from the `rank`-th on. Precondition: they are there.
  absl::string_view Vectors(uint32_t rank, uint32_t count) const { return vectors_.substr(rank * stride(), count * stride()); }
  // The vector of an ordinal; empty where it has none.
  absl::string_view Find(uint64_t ordinal) const { return Has(ordinal) ? Vectors(Rank(ordinal), 1) : absl::string_view(); }

 private:
  size_t stride() const { return size_t{2} * dim_; }

  uint64_t first_ = 0;
  uint32_t dim_ = 0;
  ChunkBits present_{};
  std::array<uint32_t, kChunkOrdinals / 64 + 1> before_{};  // vectors in the words before each
  absl::string_view vectors_;
};

// Makes a value.
class EmbeddingChunkBuilder {
 public:
  EmbeddingChunkBuilder(uint16_t embedder, uint32_t sweep, uint64_t chunk, uint32_t dim);
  // Preconditions: an ordinal of the chunk, above the one before; `dim` halves.
  void Add(uint64_t ordinal, absl::string_view fp16);
  // Precondition: something was added. Call once.
  [[nodiscard]] std::string Finish();

 private:
  const uint64_t first_;
  const uint32_t dim_;
  uint64_t next_;
  uint32_t count_ = 0;
  std::string value_;
};

}  // namespace promptsweep::store
