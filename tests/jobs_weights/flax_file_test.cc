// Proves that files of flax.serialization come out as Flax loads them, and that damaged or hostile ones are refused.
#include "jobs/weights/flax_file.h"

#include <random>

#include "gmock/gmock.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

using testing::HasSubstr;

std::string Problem(const std::string& bytes) {
  const auto tensors = ReadFlaxFile(bytes);
  EXPECT_TRUE(absl::IsInvalidArgument(tensors.status()));
  return std::string(tensors.status().message());
}

std::string Short(const std::string& text) { return static_cast<char>(0xa0 | text.size()) + text; }
std::string Extension(int type, const std::string& content) {
  return std::string("\xc7") + static_cast<char>(content.size()) + static_cast<char>(type) + content;
}
// [shape, type, bytes].
std::string Array(const std::string& sizes, const std::string& type, const std::string& bytes) {
  return "\x93" + (static_cast<char>(0x90 | sizes.size()) + sizes) + Short(type) + "\xc4" + static_cast<char>(bytes.size()) +
         bytes;
}
std::string One(const std::string& value) { return "\x81" + Short("a") + value; }

TEST(FlaxFile, HoldsWhatFlaxSays) {
  Contents expected = ContentsOf(Fixture("many_flax.safetensors"));
  // safetensors' numpy side knows no bfloat16; the fixture holds its bits.
  std::string brain = expected.at("brain.bits");
  expected.erase("brain.bits");
  expected["brain"] = "BF16" + brain.substr(3);
  const std::string bytes = Fixture("many.msgpack");
  auto tensors = ReadFlaxFile(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(ContentsOf(*tensors), expected);
  EXPECT_GT(tensors->at("large.kernel").pieces->size(), 1u) << "the fixture has an array in chunks";
}

TEST(FlaxFile, CutShortAtAnyByteItIsRefused) {
  const std::string whole = Fixture("many.msgpack");
  for (size_t size = 0; size < whole.size(); ++size) ASSERT_FALSE(ReadFlaxFile(whole.substr(0, size)).ok()) << size;
  EXPECT_THAT(Problem(whole.substr(0, 400)), HasSubstr("truncated"));
  EXPECT_THAT(Problem(whole + "x"), HasSubstr("follows behind"));
}

TEST(FlaxFile, MutationsNeverReachOutside) {
  const std::string whole = Fixture("many.msgpack");
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = whole;
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto tensors = ReadFlaxFile(bytes);
    if (tensors.ok()) (void)ContentsOf(*tensors);
  }
}

TEST(FlaxFile, WhatIsNoArrayIsRefused) {
  EXPECT_TRUE(ReadFlaxFile(One(Extension(1, Array("\x02", "float16", "abcd")))).ok());
  EXPECT_TRUE(ReadFlaxFile(One(Extension(3, Array("", "float32", "abcd")))).ok());
  EXPECT_TRUE(ReadFlaxFile("\x80").ok());
  EXPECT_THAT(Problem("\x93"), HasSubstr("no map"));
  EXPECT_THAT(Problem(One("\x07")), HasSubstr("\"a\" is no array"));
  EXPECT_THAT(Problem(One("\xc0")), HasSubstr("\"a\" is no array"));
  EXPECT_THAT(Problem(One(Extension(2, "xx"))), HasSubstr("\"a\" is no array"));
  EXPECT_THAT(Problem(One(Extension(-1, "xxxxxxxx"))), HasSubstr("\"a\" is no array"));
  EXPECT_THAT(Problem(One(Extension(1, Array("\x03", "float16", "abcd")))),
              HasSubstr("reaches beyond its storage of 2 elements"));
  EXPECT_THAT(Problem(One(Extension(1, Array("\xff", "float16", "abcd")))), HasSubstr("no whole number"));
  EXPECT_THAT(Problem(One(Extension(1, Array("\x02", "complex64", "abcd")))), HasSubstr("complex64"));
  EXPECT_THAT(Problem(One(Extension(1, Array("\x02", "float16", "abcd") + "x"))), HasSubstr("not [shape, type, bytes]"));
  EXPECT_THAT(Problem(One(Extension(1, "\x92\x90\x90"))), HasSubstr("not [shape, type, bytes]"));
  const std::string array = Extension(1, Array("\x01", "float16", "ab"));
  EXPECT_THAT(Problem("\x82" + Short("a") + array + Short("a") + array), HasSubstr("comes twice"));
  EXPECT_THAT(Problem(std::string("\x81\x01\x01")), HasSubstr("no text"));
  EXPECT_THAT(Problem("\xc1"), HasSubstr("no MessagePack"));
  // Counts and lengths far beyond the file.
  EXPECT_THAT(Problem("\xdf\xff\xff\xff\xff"), HasSubstr("truncated"));
  EXPECT_THAT(Problem(One("\xc9\xff\xff\xff\xff\x01")), HasSubstr("truncated"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "\x81" + Short("a");
  EXPECT_THAT(Problem(deep), HasSubstr("without end"));
}

TEST(FlaxFile, HalfArraysInChunksAreRefused) {
  const std::string chunk = Extension(1, Array("\x01", "float16", "ab")), other = Extension(1, Array("\x01", "int8", "a"));
  const std::string mark = "\xb9__msgpack_chunked_array__\xc3";
  const auto chunked = [&](const std::string& shape, const std::string& chunks) {
    return One("\x83" + mark + Short("shape") + shape + Short("chunks") + chunks);
  };
  const std::string two = "\x82" + Short("0") + chunk + Short("1") + chunk;
  EXPECT_TRUE(ReadFlaxFile(chunked("\x81" + Short("0") + "\x02", two)).ok());
  EXPECT_THAT(Problem(chunked("\x81" + Short("0") + "\x03", two)), HasSubstr("reaches beyond its storage of 2 elements"));
  EXPECT_THAT(Problem(chunked("\x81" + Short("1") + "\x02", two)), HasSubstr("out of order"));
  EXPECT_THAT(Problem(chunked("\x81" + Short("0") + "\x02", "\x82" + Short("0") + chunk + Short("1") + other)),
              HasSubstr("several types"));
  EXPECT_THAT(Problem(chunked("\x81" + Short("0") + "\x02", "\x81" + Short("0") + "\x02")), HasSubstr("no array"));
  EXPECT_THAT(Problem(chunked("\x07", two)), HasSubstr("no list"));
  EXPECT_THAT(Problem(One("\x81" + mark)), HasSubstr("half an array"));
  EXPECT_THAT(Problem("\x81" + mark), HasSubstr("half an array"));
}

}  // namespace
}  // namespace promptsweep::weights
