// Proves that packed embeddings give back what went in, whatever the gaps, and that no other byte string passes for one.
#include "store/embedding_chunk.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/hash.h"

namespace promptsweep::store {
namespace {

std::string RandomBytes(std::mt19937_64& random, size_t n) {
  std::string bytes(n, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::string Build(uint16_t embedder, uint32_t sweep, uint64_t chunk, uint32_t dim, const std::map<uint64_t, std::string>& rows) {
  EmbeddingChunkBuilder builder(embedder, sweep, chunk, dim);
  for (const auto& [ordinal, vector] : rows) builder.Add(ordinal, vector);
  return builder.Finish();
}

TEST(EmbeddingChunk, GivesBackWhatWentIn) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const uint32_t dim = 1 + random() % 40;
    const uint64_t chunk = round % 3 == 0 ? 0 : round % 3 == 1 ? random() >> 20 : UINT64_MAX >> kEmbeddingChunkBits;
    const uint64_t first = chunk << kEmbeddingChunkBits;
    // From one vector to all of them.
    const uint64_t one_in = 1 + random() % (round % 2 == 0 ? 2 : 700);
    std::map<uint64_t, std::string> rows;
    for (uint64_t i = 0; i < kChunkOrdinals; ++i) {
      if (random() % one_in == 0) rows[first + i] = RandomBytes(random, 2 * dim);
    }
    if (rows.empty()) rows[first + random() % kChunkOrdinals] = RandomBytes(random, 2 * dim);
    const std::string value = Build(3, 9, chunk, dim, rows);
    ASSERT_EQ(value.size(), kChunkVectors + rows.size() * 2 * dim);
    const auto view = EmbeddingChunk::Parse(value, 3, 9, chunk);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->dim(), dim);
    EXPECT_EQ(view->count(), rows.size());
    EXPECT_EQ(view->first_ordinal(), first);
    uint32_t rank = 0;
    for (uint64_t i = 0; i < kChunkOrdinals; ++i) {
      const auto row = rows.find(first + i);
      ASSERT_EQ(view->Has(first + i), row != rows.end());
      ASSERT_EQ(view->Rank(first + i), rank);
      ASSERT_EQ(view->Find(first + i), row == rows.end() ? "" : row->second);
      if (row == rows.end()) continue;
      ASSERT_EQ(view->Vectors(rank++, 1), row->second);
    }
    EXPECT_FALSE(view->Has(first - 1));
    EXPECT_FALSE(view->Has(first + kChunkOrdinals));
    EXPECT_EQ(view->Vectors(0, view->count()), value.substr(kChunkVectors));
  }
}

TEST(EmbeddingChunk, EveryFlippedBitAndEveryCutIsRefused) {
  std::mt19937_64 random(8);
  std::map<uint64_t, std::string> rows;
  for (const uint64_t i : {0, 5, 63, 64, 1023}) rows[2048 + i] = RandomBytes(random, 12);
  const std::string value = Build(0, 1, 2, 6, rows);
  ASSERT_TRUE(EmbeddingChunk::Parse(value, 0, 1, 2).ok());
  for (size_t at = 0; at < value.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string harmed = value;
      harmed[at] = static_cast<char>(harmed[at] ^ 1 << bit);
      ASSERT_EQ(EmbeddingChunk::Parse(harmed, 0, 1, 2).status().code(), absl::StatusCode::kDataLoss) << at << " " << bit;
    }
    ASSERT_FALSE(EmbeddingChunk::Parse(value.substr(0, at), 0, 1, 2).ok()) << at;
  }
  EXPECT_FALSE(EmbeddingChunk::Parse(value + "x", 0, 1, 2).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(value + std::string(12, 'x'), 0, 1, 2).ok());
}

TEST(EmbeddingChunk, IsWorthNothingUnderAnotherKey) {
  const std::string value = Build(1, 2, 3, 1, {{3 * kChunkOrdinals, "ab"}});
  ASSERT_TRUE(EmbeddingChunk::Parse(value, 1, 2, 3).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(value, 0, 2, 3).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(value, 1, 3, 3).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(value, 1, 2, 4).ok());
  // The same first ordinal once the number is shifted.
  EXPECT_FALSE(EmbeddingChunk::Parse(value, 1, 2, 3 | uint64_t{1} << 60).ok());
}

// Sets numbers in a value and makes its checksum right again, as somebody who knows the layout would.
std::string Forge(std::string value, size_t at, const std::string& bytes) {
  value.replace(at, bytes.size(), bytes);
  const absl::string_view view = value;
  const uint64_t sum = Xxh3(view.substr(64), Xxh3(view.substr(0, 56)));
  for (int i = 0; i < 8; ++i) value[56 + i] = static_cast<char>(sum >> (8 * (7 - i)));
  return value;
}

TEST(EmbeddingChunk, SizesThatDoNotAgreeAreRefusedUnderARightChecksum) {
  const std::string value = Build(0, 1, 0, 2, {{0, "abcd"}, {9, "efgh"}});
  ASSERT_TRUE(EmbeddingChunk::Parse(Forge(value, 0, ""), 0, 1, 0).ok());
  for (const uint32_t dim : {0u, 1u, 4u, 0x80000002u, 0xffffffffu}) {
    EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 12, EncodeU32(dim)), 0, 1, 0).ok()) << dim;
  }
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 24, std::string("\0\0\0\3", 4)), 0, 1, 0).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 64, std::string(128, '\0')), 0, 1, 0).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 64, std::string(128, '\xff')), 0, 1, 0).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 4, "\2"), 0, 1, 0).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 5, "\2"), 0, 1, 0).ok());
  EXPECT_FALSE(EmbeddingChunk::Parse(Forge(value, 40, "\1"), 0, 1, 0).ok());
}

}  // namespace
}  // namespace promptsweep::store
