// Proves that half floats convert exactly one way, and to the nearest even the other way, for every bit pattern.
#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace promptsweep {
namespace {

TEST(Half, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = FloatFromHalf(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(FloatFromHalf(HalfFromFloat(value))));
    } else {
      EXPECT_EQ(HalfFromFloat(value), half) << std::hex << bits;
    }
  }
}

TEST(Half, RoundsToTheNearerNeighbourAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = FloatFromHalf(half);
    const float high = FloatFromHalf(half + 1);
    const float middle = low + (high - low) / 2;  // exact in float
    EXPECT_EQ(HalfFromFloat(middle), half % 2 == 0 ? half : half + 1);
    EXPECT_EQ(HalfFromFloat(std::nextafter(middle, low)), half);
    EXPECT_EQ(HalfFromFloat(std::nextafter(middle, high)), half + 1);
    EXPECT_EQ(HalfFromFloat(-middle), 0x8000 | HalfFromFloat(middle));
  }
}

TEST(Half, EdgesOfTheRange) {
  EXPECT_EQ(FloatFromHalf(HalfFromFloat(65504.0f)), 65504.0f);
  EXPECT_EQ(HalfFromFloat(65519.99f), 0x7bff);
  EXPECT_EQ(HalfFromFloat(65520.0f), 0x7c00);
  EXPECT_EQ(HalfFromFloat(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(HalfFromFloat(0x1p-24f), 1);
  EXPECT_EQ(HalfFromFloat(0x1p-26f), 0);
  EXPECT_EQ(std::bit_cast<uint32_t>(FloatFromHalf(0x8000)), 0x80000000u);
}

TEST(Half, PackAndUnpackAreInverse) {
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(513);
  for (float& value : values) value = FloatFromHalf(HalfFromFloat(normal(rng)));
  const std::string bytes = PackHalves(values.data(), values.size());
  EXPECT_EQ(bytes.size(), values.size() * 2);
  EXPECT_EQ(UnpackHalves(bytes), values);
}

}  // namespace
}  // namespace promptsweep
