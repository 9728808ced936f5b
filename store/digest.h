// The digest a Trailer carries, computed alike by the store and by whoever reads a stream.
#pragma once

#include <cstdint>

#include "promptsweep/v1/store.pb.h"

namespace promptsweep::store {

// Folds parts with XXH3-64, each part seeded by the digest so far, from 0. Parts of a result: ordinal (8 bytes, little-endian),
// fingerprint, image digest, image, every embedding's vector; of a vector: ordinal, bytes. Absent parts count as empty ones.
// How rows were divided into messages does not matter. Not thread-safe.
class ScanDigest {
 public:
  void Add(const v1::Result& result);
  void Add(const v1::EmbeddingBlock& block);
  uint64_t rows() const { return rows_; }
  uint64_t digest() const { return digest_; }
  // True where a stream that ended with `trailer` is complete and unharmed.
  bool Matches(const v1::Trailer& trailer) const { return trailer.rows() == rows_ && trailer.digest() == digest_; }

 private:
  uint64_t rows_ = 0;
  uint64_t digest_ = 0;
};

}  // namespace promptsweep::store
