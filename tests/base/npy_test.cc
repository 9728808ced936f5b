// Proves that the .npy reader takes exactly the arrays it documents and refuses every other file with a reason.
#include "base/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>

#include "base/half.h"

namespace promptsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Header(const std::string& dict, char version = 1) {
  std::string header("\x93NUMPY", 6);
  header += version;
  header += '\0';
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  if (version > 1) header += std::string(2, '\0');
  return header + dict;
}

std::string Floats(std::initializer_list<float> values) {
  std::string bytes(values.size() * 4, '\0');
  std::memcpy(bytes.data(), values.begin(), bytes.size());
  return bytes;
}

class Npy : public ::testing::Test {
 protected:
  absl::StatusOr<NpyReader> Open(const std::string& bytes) {
    path_ = ::testing::TempDir() + "/npy_test_" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".npy";
    std::ofstream(path_, std::ios::binary) << bytes;
    return NpyReader::Open(path_);
  }
  std::string Refusal(const std::string& bytes) {
    const auto reader = Open(bytes);
    return reader.ok() ? "accepted" : std::string(reader.status().message());
  }
  std::string path_;
};

TEST_F(Npy, ReadsSingleFloatsInPieces) {
  auto reader = Open(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n") + Floats({1, 2, 3, 4, 5, 6}));
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->rows(), 3u);
  EXPECT_EQ(reader->cols(), 2u);
  EXPECT_THAT(*reader->Read(2), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(*reader->Read(2), ElementsAre(5, 6));
  EXPECT_TRUE(reader->Read(2)->empty());
}

TEST_F(Npy, ReadsDoublesAsSingles) {
  const double values[] = {0.1, -2.5, 1e300, 0};
  std::string bytes(sizeof(values), '\0');
  std::memcpy(bytes.data(), values, sizeof(values));
  auto reader = Open(Header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n") + bytes);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(*reader->Read(1), ElementsAre(0.1f, -2.5f));
  EXPECT_THAT(*reader->Read(1), ElementsAre(std::numeric_limits<float>::infinity(), 0.0f));
}

TEST_F(Npy, ReadsWhatItWrites) {
  const float values[] = {0.5f, -1.0f, 0.25f, 2.0f};
  EXPECT_EQ(NpyHalfHeader(2, 2).size() % 64, 0u);
  EXPECT_EQ(NpyHalfHeader(0, 2).size(), NpyHalfHeader(~0ull, 65535).size());
  for (char version : {1, 2, 3}) {
    auto reader = Open(version == 1 ? NpyHalfHeader(2, 2) + PackHalves(values, 4)
                                    : Header("{\"shape\":(2,2),\"fortran_order\":False,\"descr\":\"<f2\"}", version) +
                                          PackHalves(values, 4));
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_THAT(*reader->Read(9), ElementsAre(0.5f, -1.0f, 0.25f, 2.0f));
  }
}

TEST_F(Npy, ReadsTheSingleFloatsItWrites) {
  EXPECT_EQ(NpySingleHeader(3, 512).size() % 64, 0u);
  auto reader = Open(NpySingleHeader(2, 3) + Floats({1, 2, 3, 4, 5, 1e30f}));
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(*reader->Read(9), ElementsAre(1, 2, 3, 4, 5, 1e30f));
}

TEST_F(Npy, RefusesEverythingElse) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
  const std::string data = Floats({1, 2});
  EXPECT_EQ(Refusal(Header(good) + data), "accepted");
  EXPECT_THAT(Refusal(""), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal("PK\x03\x04 and so on for a while"), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal(Header(good, 9) + data), HasSubstr("version 9"));
  EXPECT_THAT(Refusal(Header(good).substr(0, 30)), HasSubstr("cut short"));
  EXPECT_THAT(Refusal(Header(good) + data.substr(0, 7)), HasSubstr("promises 1 rows of 8 bytes, but 7"));
  EXPECT_THAT(Refusal(Header(good) + data + "x"), HasSubstr("but 9"));
  EXPECT_THAT(Refusal(Header("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1), }") + data), HasSubstr("<i8"));
  EXPECT_THAT(Refusal(Header("{'descr': '>f8', 'fortran_order': False, 'shape': (1, 1), }") + data), HasSubstr(">f8"));
  EXPECT_THAT(Refusal(Header("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }") + data), HasSubstr(">f4"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }") + data), HasSubstr("Fortran"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }") + data), HasSubstr("1 dimensions"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }")), HasSubstr("no values"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }") + data), HasSubstr("whole numbers"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4), }") + data),
              HasSubstr("promises"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999), }") + data), HasSubstr("at most"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'shape': (1, 2), }") + data), HasSubstr("must have"));
  EXPECT_THAT(Refusal(Header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)} + 1") + data),
              HasSubstr("after the dict"));
  EXPECT_THAT(Refusal(Header("[1, 2]") + data), HasSubstr("not a dict"));
  EXPECT_THAT(Refusal(Header("{'descr") + data), HasSubstr("not a dict"));
  EXPECT_FALSE(NpyReader::Open("/nonexistent.npy").ok());
  EXPECT_FALSE(NpyReader::Open("/dev/zero").ok());
}

}  // namespace
}  // namespace promptsweep
