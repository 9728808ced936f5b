// Proves that digests are the published ones and that fields cannot run into each other.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <fstream>

namespace promptsweep {
namespace {

// FIPS 180-2, appendix B.1.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Hash, Sha256IsThePublishedOne) {
  EXPECT_EQ(ToHex(Sha256Of("abc")), kAbc);
  EXPECT_EQ(ToHex(Sha256Of("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Hash, FileAndPiecesGiveTheSameDigest) {
  const std::string path = testing::TempDir() + "hash_test.bin";
  std::ofstream(path, std::ios::binary) << "abc";
  EXPECT_EQ(ToHex(Sha256OfFile(path).value()), kAbc);
  EXPECT_EQ(Sha256OfFile(path + ".none").status().code(), absl::StatusCode::kNotFound);
  Sha256 pieces;
  pieces.Update("a");
  pieces.Update("bc");
  EXPECT_EQ(ToHex(pieces.Finish()), kAbc);
}

TEST(Hash, FieldsDoNotRunTogether) {
  Sha256 left, right;
  left.UpdateField("ab");
  left.UpdateField("c");
  right.UpdateField("a");
  right.UpdateField("bc");
  EXPECT_NE(left.Finish(), right.Finish());
}

TEST(Hash, Xxh3DependsOnSeedAndBytes) {
  EXPECT_EQ(Xxh3("abc"), Xxh3("abc"));
  EXPECT_NE(Xxh3("abc"), Xxh3("abd"));
  EXPECT_NE(Xxh3("abc"), Xxh3("abc", 1));
}

}  // namespace
}  // namespace promptsweep
