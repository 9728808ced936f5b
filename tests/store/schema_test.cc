// Proves that stored bytes never change, that keys sort as their numbers do, and that broken values are refused.
#include "store/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/escaping.h"
#include "base/hash.h"
#include "store/embedding_chunk.h"
#include "store/ledger.h"

namespace promptsweep::store {
namespace {

std::string Digest(char fill) { return std::string(32, fill); }
std::string HexOf(char fill) {
  std::string hex;
  for (int i = 0; i < 32; ++i) hex += ToHex(std::string(1, fill));
  return hex;
}

ResultRow SomeResult() {
  ResultRow row;
  row.fingerprint = Digest('\x11');
  row.image_digest = Digest('\x22');
  row.embeddings_digest = Digest('\x33');
  row.format = v1::IMAGE_FORMAT_PNG;
  row.embedders = 2;
  row.width = 64;
  row.height = 65;
  row.image_bytes = 0x010203;
  row.generate_us = 4;
  row.embed_us = 5;
  row.encode_us = 6;
  row.stored_at_ms = 0x0102030405060708;
  row.provenance = 9;
  row.rest = "rest";
  return row;
}

TEST(Golden, FamilyNames) {
  std::vector<std::string> names;
  for (size_t i = 0; i < kFamilies; ++i) names.push_back(FamilyName(static_cast<Family>(i)));
  EXPECT_THAT(names, testing::ElementsAre("default", "meta", "sweeps", "results", "images", "embeddings", "by_fingerprint",
                                          "coverage", "failures", "duplicates", "labels", "motifs", "provenance",
                                          "embedding_chunks", "links", "counters", "settings"));
  EXPECT_EQ(kSchemaVersion, 2u);
  EXPECT_EQ(kSchemaVersionKey, "schema_version");
  EXPECT_EQ(kStoreUuidKey, "store_uuid");
  EXPECT_EQ(kLastSweepKey, "last_sweep");
  EXPECT_EQ(kChunkBits, 16);
}

TEST(Golden, Keys) {
  EXPECT_EQ(ToHex(SweepKey(0x01020304)), "01020304");
  EXPECT_EQ(ToHex(CellKey(1, 0x0102030405060708)), "000000010102030405060708");
  EXPECT_EQ(ToHex(EmbeddingKey(0x0a0b, 1, 2)), "0a0b000000010000000000000002");
  EXPECT_EQ(ToHex(CoverageKey(7, 3)), "000000070000000000000003");
  EXPECT_EQ(ToHex(DuplicateKey(7, 3, Digest('\x44'))), "000000070000000000000003" + HexOf('\x44'));
  EXPECT_EQ(ToHex(ProvenanceKey(5)), "00000005");
}

TEST(Golden, Values) {
  SweepRow sweep;
  sweep.digest = Digest('\x55');
  sweep.state = v1::SWEEP_STATE_DONE;
  sweep.created_at_ms = 0x1122;
  sweep.manifest = "m";
  EXPECT_EQ(ToHex(Encode(sweep)), "01" + HexOf('\x55') + "03" + "0000000000001122" + "6d");

  EXPECT_EQ(ToHex(Encode(SomeResult())), "01" + HexOf('\x11') + HexOf('\x22') + HexOf('\x33') + "02" + "02" + "00000040" +
                                             "00000041" + "00010203" + "00000004" + "00000005" + "00000006" + "0102030405060708" +
                                             "00000009" + "72657374");

  const CountersRow counters{.reused = 0x0102, .device_us = 0x0304};
  EXPECT_EQ(ToHex(Encode(counters)), "0100000000000001020000000000000304");
  EXPECT_EQ(*DecodeCountersRow(Encode(counters)), counters);

  DuplicateRow duplicate;
  duplicate.at_ms = 3;
  duplicate.first_content = Digest('\x66');
  duplicate.later_content = Digest('\x77');
  duplicate.first_provenance = 1;
  duplicate.later_provenance = 2;
  EXPECT_EQ(ToHex(Encode(duplicate)),
            "01"
            "0000000000000003" +
                HexOf('\x66') + HexOf('\x77') +
                "00000001"
                "00000002");

  EXPECT_EQ(ToHex(Versioned("ab")), "016162");
  Roaring bitmap;
  bitmap.add(1);
  bitmap.add(0xffff);
  EXPECT_EQ(ToHex(EncodeBitmap(bitmap)),
            "01"
            "3a300000"
            "01000000"
            "0000"
            "0100"
            "10000000"
            "0100"
            "ffff");
}

TEST(Golden, EmbeddingChunks) {
  EXPECT_EQ(kEmbeddingChunkBits, 10);
  EXPECT_EQ(ToHex(EmbeddingChunkKey(0x0a0b, 1, 2)), "0a0b000000010000000000000002");
  EmbeddingChunkBuilder builder(0x0a0b, 0x01020304, 2, 3);
  builder.Add(2048, "abcdef");
  builder.Add(2048 + 9, "ghijkl");
  builder.Add(2048 + 1023, "mnopqr");
  std::string presence(128, '\0');
  presence[0] = '\x01';
  presence[1] = '\x02';
  presence[127] = '\x80';
  EXPECT_EQ(ToHex(builder.Finish()),
            "50534543"
            "01"
            "01"
            "0a0b"
            "01020304"
            "00000003"
            "0000000000000800"
            "00000003"
            "00000000"
            "0000000000000000"
            "0000000000000000"
            "0000000000000000"
            "7bdc0b1836dca45d" +
                ToHex(presence) + ToHex("abcdefghijklmnopqr"));
}

TEST(Golden, ContentDigests) {
  v1::Result result;
  result.add_embeddings()->set_embedder("e");
  result.mutable_embeddings(0)->set_fp16("xy");
  // sha256(len8("e") "e" len8("xy") "xy")
  EXPECT_EQ(EmbeddingsDigest(result), Sha256Of(std::string("\0\0\0\0\0\0\0\1e\0\0\0\0\0\0\0\2xy", 19)));
  EXPECT_EQ(ContentDigest("a", "b"), Sha256Of(std::string("\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\1b", 18)));
}

TEST(Values, RoundTrip) {
  const ResultRow row = SomeResult();
  const auto back = DecodeResultRow(Encode(row));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(Encode(*back), Encode(row));
  ResultRow bare = row;
  bare.format = v1::IMAGE_FORMAT_UNSPECIFIED;
  bare.image_digest.clear();
  const auto bare_back = DecodeResultRow(Encode(bare));
  ASSERT_TRUE(bare_back.ok());
  EXPECT_TRUE(bare_back->image_digest.empty());
}

TEST(Values, EveryTruncationAndAnotherVersionIsRefused) {
  ResultRow row = SomeResult();
  row.rest.clear();
  const std::string result = Encode(row);
  for (size_t n = 0; n < result.size(); ++n) EXPECT_FALSE(DecodeResultRow(result.substr(0, n)).ok()) << n;
  std::string other = result;
  other[0] = 2;
  EXPECT_EQ(DecodeResultRow(other).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(DecodeSweepRow("").ok());
  EXPECT_FALSE(DecodeDuplicateRow(std::string(10, 1)).ok());
  EXPECT_FALSE(Unversioned("").ok());
  EXPECT_FALSE(Unversioned("\x02x").ok());
}

TEST(Values, HostileBitmapsAreRefused) {
  Roaring bitmap;
  for (uint32_t i = 0; i < 1000; i += 3) bitmap.add(i);
  const std::string good = EncodeBitmap(bitmap);
  ASSERT_TRUE(DecodeBitmap(good).ok());
  for (size_t n = 0; n + 1 < good.size(); ++n) EXPECT_FALSE(DecodeBitmap(good.substr(0, n)).ok()) << n;
  bitmap.add(1u << 16);
  EXPECT_FALSE(DecodeBitmap(EncodeBitmap(bitmap)).ok());
  EXPECT_FALSE(DecodeBitmap(EncodeBitmap(Roaring())).ok());
}

TEST(Keys, SortAsTheirNumbersAndParseBack) {
  std::mt19937_64 random(20240517);
  const auto number = [&random] { return random() >> (random() % 64); };
  for (int i = 0; i < 20'000; ++i) {
    const auto a = std::make_tuple(static_cast<uint16_t>(number()), static_cast<uint32_t>(number()), number());
    const auto b = std::make_tuple(random() % 2 ? std::get<0>(a) : static_cast<uint16_t>(number()),
                                   random() % 2 ? std::get<1>(a) : static_cast<uint32_t>(number()), number());
    const auto key = [](const auto& t) { return EmbeddingKey(std::get<0>(t), std::get<1>(t), std::get<2>(t)); };
    ASSERT_EQ(a < b, key(a) < key(b));
    ASSERT_EQ(std::make_pair(std::get<1>(a), std::get<2>(a)) < std::make_pair(std::get<1>(b), std::get<2>(b)),
              CellKey(std::get<1>(a), std::get<2>(a)) < CellKey(std::get<1>(b), std::get<2>(b)));
    uint16_t embedder = 0;
    uint32_t sweep = 0;
    uint64_t ordinal = 0;
    ASSERT_TRUE(ParseEmbeddingKey(key(a), embedder, sweep, ordinal));
    ASSERT_EQ(a, std::make_tuple(embedder, sweep, ordinal));
    ASSERT_TRUE(ParseCellKey(CellKey(sweep, ordinal), sweep, ordinal));
    ASSERT_EQ(std::get<2>(a), ordinal);
    ASSERT_LT(DuplicateKey(sweep, ordinal, Digest('\xff')), SweepKeyEnd(sweep));
    ASSERT_LT(key(a), EmbeddingKeyEnd(std::get<0>(a), std::get<1>(a)));
  }
  uint32_t sweep = 0;
  uint64_t ordinal = 0;
  EXPECT_FALSE(ParseCellKey("short", sweep, ordinal));
  EXPECT_LT(CellKey(UINT32_MAX, UINT64_MAX), SweepKeyEnd(UINT32_MAX));
  EXPECT_LT(EmbeddingKey(UINT16_MAX, UINT32_MAX, UINT64_MAX), EmbeddingKeyEnd(UINT16_MAX, UINT32_MAX));
}

}  // namespace
}  // namespace promptsweep::store
