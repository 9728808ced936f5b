// Proves that thumbnails average what they shrink and that contact sheets hold every picture.
#include "cli/picture.h"

#include <gtest/gtest.h>

namespace promptsweep::cli {
namespace {

worker::Image Solid(int width, int height, char value) {
  return {width, height, std::string(static_cast<size_t>(3) * width * height, value)};
}

TEST(Picture, ShrinkAveragesAndKeepsProportions) {
  worker::Image image = Solid(4, 2, 0);
  for (int i = 0; i < 6; ++i) image.rgb[i] = 100;  // upper left pair
  const worker::Image small = Shrink(image, 2);
  EXPECT_EQ(small.width, 2);
  EXPECT_EQ(small.height, 1);
  EXPECT_EQ(small.rgb, std::string(3, 50) + std::string(3, 0));
  EXPECT_EQ(Shrink(image, 100).width, 4) << "never enlarged";
  EXPECT_EQ(Shrink(Solid(5000, 1, 9), 10).height, 1);
}

TEST(Picture, ContactSheetShowsAll) {
  const worker::Image sheet = ContactSheet({Solid(8, 8, 1), Solid(8, 8, 2), Solid(8, 4, 3)}, 8);
  EXPECT_EQ(sheet.width, 2 * 12 + 4);
  EXPECT_EQ(sheet.height, 2 * 12 + 4);
  ASSERT_EQ(sheet.rgb.size(), static_cast<size_t>(3) * sheet.width * sheet.height);
  for (char value : {1, 2}) EXPECT_EQ(std::count(sheet.rgb.begin(), sheet.rgb.end(), value), 3 * 64);
  EXPECT_EQ(std::count(sheet.rgb.begin(), sheet.rgb.end(), 3), 3 * 32);
}

}  // namespace
}  // namespace promptsweep::cli
