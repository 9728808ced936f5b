// Any bytes as a chunk of packed embeddings, as they are and with a checksum that fits: refused, or read so that every vector
// lies within the value and building it again gives the same bytes.
#include <bit>
#include <string>

#include "base/hash.h"
#include "store/embedding_chunk.h"
#include "tests/fuzz/fuzz.h"

namespace promptsweep::store {
namespace {

uint64_t Big(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

void Read(absl::string_view value) {
  if (value.size() < kChunkHeaderBytes) {
    PS_CHECK(!EmbeddingChunk::Parse(value, 0, 0, 0).ok());
    return;
  }
  const auto embedder = static_cast<uint16_t>(Big(value.substr(6, 2)));
  const auto sweep = static_cast<uint32_t>(Big(value.substr(8, 4)));
  const uint64_t number = Big(value.substr(16, 8)) >> kEmbeddingChunkBits;
  const auto chunk = EmbeddingChunk::Parse(value, embedder, sweep, number);
  if (!chunk.ok()) {
    PS_CHECK(absl::IsDataLoss(chunk.status()));
    return;
  }
  PS_CHECK(!EmbeddingChunk::Parse(value, embedder, sweep ^ 1, number).ok());
  EmbeddingChunkBuilder builder(embedder, sweep, number, chunk->dim());
  uint32_t found = 0;
  for (uint64_t i = 0; i < kChunkOrdinals; ++i) {
    const uint64_t ordinal = chunk->first_ordinal() + i;
    const absl::string_view vector = chunk->Find(ordinal);
    PS_CHECK(chunk->Rank(ordinal) == found);
    PS_CHECK(vector.empty() != chunk->Has(ordinal));
    if (vector.empty()) continue;
    PS_CHECK(vector.data() >= value.data() && vector.data() + vector.size() <= value.data() + value.size());
    builder.Add(ordinal, vector);
    ++found;
  }
  PS_CHECK(found == chunk->count());
  PS_CHECK(builder.Finish() == value);
}

}  // namespace
}  // namespace promptsweep::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep::store;
  const absl::string_view bytes = promptsweep::Input(data, size);
  Read(bytes);
  if (bytes.size() < kChunkHeaderBytes) return 0;
  std::string sealed(bytes);
  const uint64_t seed = promptsweep::Xxh3(absl::string_view(sealed).substr(0, 56));
  const uint64_t checksum = promptsweep::Xxh3(absl::string_view(sealed).substr(kChunkHeaderBytes), seed);
  for (int i = 0; i < 8; ++i) sealed[56 + i] = static_cast<char>(checksum >> (56 - 8 * i));
  Read(sealed);
  return 0;
}
