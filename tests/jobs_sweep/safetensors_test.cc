// Proves that only headers whose every offset can be trusted are accepted.
#include "jobs/sweep/safetensors.h"

#include <random>

#include "gmock/gmock.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<SafetensorsHeader> Parse(const std::string& json, size_t data) {
  std::string bytes = SafetensorsBytes(json, std::string(data, 'x'));
  return ParseSafetensorsHeader(bytes, bytes.size());
}

std::string Problem(const std::string& json, size_t data) {
  auto header = Parse(json, data);
  EXPECT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument) << json;
  return std::string(header.status().message());
}

std::string Tensor(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
}

TEST(Safetensors, GivesTensorsByOffset) {
  const std::string json = "{" + Tensor("b", "F16", "2,3", "4,16") + "," + Tensor("a", "F32", "", "0,4") + "," +
                           Tensor("e", "I64", "0", "4,4") + ",\"__metadata__\":{\"format\":\"pt\"}}  ";
  auto header = Parse(json, 16);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[1].name, "e");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_THAT(header->tensors[2].shape, ElementsAre(2, 3));
  EXPECT_EQ(header->tensors[0].begin, 8 + json.size());
  EXPECT_EQ(header->tensors[2].end, 8 + json.size() + 16);
  EXPECT_EQ(header->metadata["format"], "pt");
  EXPECT_TRUE(Parse("{}", 0).ok());
}

TEST(Safetensors, RefusesWhatCannotBeTrusted) {
  auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{" + Tensor("a", dtype, shape, offsets) + "}";
  };
  EXPECT_THAT(Problem(one("F32", "2", "0,8"), 7), HasSubstr("truncated"));
  EXPECT_THAT(Problem(one("F32", "2", "0,8"), 9), HasSubstr("no tensor"));
  EXPECT_THAT(Problem(one("F32", "2", "0,4"), 4), HasSubstr("8 bytes"));
  EXPECT_THAT(Problem(one("F32", "2", "8,0"), 8), HasSubstr("gap or overlap"));
  EXPECT_THAT(Problem(one("F32", "2", "4,12"), 12), HasSubstr("gap"));
  EXPECT_THAT(Problem(one("F33", "2", "0,8"), 8), HasSubstr("dtype"));
  EXPECT_THAT(Problem(one("F32", "4294967296,4294967296,4", "0,8"), 8), HasSubstr("overflow"));
  EXPECT_THAT(Problem(one("F32", "2", "18446744073709551615,18446744073709551615"), 8), HasSubstr("overflow"));
  EXPECT_THAT(Problem(one("F32", "-2", "0,8"), 8), HasSubstr("below 0"));
  EXPECT_THAT(Problem(one("F32", "2.0", "0,8"), 8), HasSubstr("fraction"));
  EXPECT_THAT(Problem(one("F32", "2", "0,8,9"), 8), HasSubstr("number"));
  EXPECT_THAT(Problem(one("F32", "2", "0"), 8), HasSubstr("two numbers"));
  EXPECT_THAT(Problem("{" + Tensor("a", "F32", "2", "0,8") + "," + Tensor("b", "F32", "2", "4,12") + "}", 12),
              HasSubstr("overlap"));
  EXPECT_THAT(Problem("{" + Tensor("a", "F32", "2", "0,8") + "," + Tensor("a", "F32", "2", "8,16") + "}", 16),
              HasSubstr("twice"));
  EXPECT_THAT(Problem(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("twice"));
  EXPECT_THAT(Problem(R"({"a":{"dtype":"F32","shape":[2]}})", 8), HasSubstr("lacks"));
  EXPECT_THAT(Problem(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8), HasSubstr("unknown key"));
  EXPECT_THAT(Problem(R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8), HasSubstr("near key"));
  EXPECT_THAT(Problem(R"({"__metadata__":{"a":1}})", 0), HasSubstr("number"));
  EXPECT_THAT(Problem("[1]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(Problem("{", 0), HasSubstr("not JSON"));
  EXPECT_THAT(Problem("{} x", 0), HasSubstr("not JSON"));
  EXPECT_THAT(Problem("{\"a\":" + std::string(100'000, '[') + "}", 0), HasSubstr("near key"));
  EXPECT_FALSE(ParseSafetensorsHeader("short", 5).ok());
  std::string bytes = LittleEndian64(~uint64_t{0}) + "{}";
  EXPECT_FALSE(ParseSafetensorsHeader(bytes, bytes.size()).ok());
  bytes = LittleEndian64(3) + "{}";
  EXPECT_THAT(std::string(ParseSafetensorsHeader(bytes, bytes.size()).status().message()), HasSubstr("truncated"));
}

TEST(Safetensors, MutationsNeverCrashAndNeverPointOutside) {
  const std::string json = "{" + Tensor("a", "F32", "2", "0,8") + "," + Tensor("b", "U8", "3", "8,11") + "}";
  const std::string good = SafetensorsBytes(json, std::string(11, 'x'));
  std::mt19937 random(4);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits)
      bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    auto header = ParseSafetensorsHeader(bytes, bytes.size());
    if (!header.ok()) continue;
    for (const SafetensorsEntry& tensor : header->tensors) {
      ASSERT_LE(tensor.begin, tensor.end);
      ASSERT_LE(tensor.end, bytes.size());
    }
  }
}

TEST(Safetensors, FilesAreNamedInMessages) {
  TempFolder folder;
  const std::string path = folder.Write("w.safetensors", OneTensor());
  EXPECT_TRUE(ReadSafetensorsHeader(path).ok());
  EXPECT_EQ(ReadSafetensorsHeader(folder.path() + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadSafetensorsHeader(folder.Write("t.safetensors", OneTensor().substr(0, 20))).status().message()),
              HasSubstr("t.safetensors: truncated"));
  EXPECT_FALSE(ReadSafetensorsHeader(folder.Write("e.safetensors", "")).ok());
  EXPECT_FALSE(ReadSafetensorsHeader(folder.path()).ok());
}

}  // namespace
}  // namespace promptsweep::sweep
