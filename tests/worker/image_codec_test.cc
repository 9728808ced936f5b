// Proves that pictures survive their files bit for bit, that limits hold, and that damaged or hostile bytes end in a status.
#include "worker/pipeline/image_codec.h"

#include <cstdio>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jpeglib.h>
#include <png.h>

namespace promptsweep::worker {
namespace {

using ::testing::HasSubstr;

std::string Noise(int width, int height, uint32_t seed) {
  std::mt19937 rng(seed);
  std::string rgb(size_t{3} * width * height, '\0');
  for (char& byte : rgb) byte = static_cast<char>(rng());
  return rgb;
}

std::string Smooth(int width, int height) {
  std::string rgb;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      rgb.push_back(static_cast<char>(255 * x / width));
      rgb.push_back(static_cast<char>(255 * y / height));
      rgb.push_back(static_cast<char>((x + y) % 256));
    }
  }
  return rgb;
}

std::string JpegOf(const std::string& pixels, int width, int height, int channels, J_COLOR_SPACE space, bool progressive) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = channels;
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row =
        reinterpret_cast<JSAMPROW>(const_cast<char*>(pixels.data())) + size_t{1} * channels * width * info.next_scanline;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string bytes(reinterpret_cast<char*>(memory), size);
  std::free(memory);
  return bytes;
}

std::string PngOf(const std::string& pixels, int width, int height, png_uint_32 format) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  png_alloc_size_t size = 0;
  EXPECT_TRUE(png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr));
  std::string bytes(size, '\0');
  EXPECT_TRUE(png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr));
  return bytes;
}

TEST(ImageCodec, LosslessFormatsKeepEveryPixel) {
  std::mt19937 rng(7);
  for (int trial = 0; trial < 60; ++trial) {
    const int width = 1 + static_cast<int>(rng() % 97);
    const int height = 1 + static_cast<int>(rng() % 97);
    const std::string rgb = trial % 3 == 0 ? Smooth(width, height) : Noise(width, height, rng());
    for (const bool webp : {true, false}) {
      const auto bytes = webp ? EncodeWebp(rgb, width, height, static_cast<int>(rng() % 10)) : EncodePng(rgb, width, height);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_EQ(SniffImageFormat(*bytes), webp ? v1::IMAGE_FORMAT_WEBP : v1::IMAGE_FORMAT_PNG);
      const auto header = ReadImageHeader(*bytes);
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->width, width);
      EXPECT_EQ(header->height, height);
      const auto image = DecodeImage(*bytes);
      ASSERT_TRUE(image.ok()) << image.status();
      EXPECT_EQ(image->width, width);
      EXPECT_EQ(image->height, height);
      EXPECT_EQ(image->rgb, rgb) << width << "x" << height;
    }
  }
}

TEST(ImageCodec, EncodingIsDeterministic) {
  const std::string rgb = Smooth(64, 64);
  EXPECT_EQ(*EncodeWebp(rgb, 64, 64), *EncodeWebp(rgb, 64, 64));
  EXPECT_EQ(*EncodePng(rgb, 64, 64), *EncodePng(rgb, 64, 64));
}

TEST(ImageCodec, JpegIsReadCloseToItsPixels) {
  const std::string flat(size_t{3} * 40 * 30, '\x80');
  for (const bool progressive : {false, true}) {
    const auto image = DecodeImage(JpegOf(flat, 40, 30, 3, JCS_RGB, progressive));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->width, 40);
    EXPECT_EQ(image->height, 30);
    for (const char byte : image->rgb) EXPECT_NEAR(static_cast<uint8_t>(byte), 0x80, 2);
  }
  const auto grey = DecodeImage(JpegOf(std::string(16 * 16, '\x20'), 16, 16, 1, JCS_GRAYSCALE, false));
  ASSERT_TRUE(grey.ok()) << grey.status();
  EXPECT_EQ(grey->rgb.size(), 16u * 16 * 3);
  EXPECT_NEAR(static_cast<uint8_t>(grey->rgb[5]), 0x20, 2);
}

TEST(ImageCodec, CmykJpegIsRefused) {
  const auto image = DecodeImage(JpegOf(Noise(16, 16, 1) + Noise(16, 16, 2), 16, 16, 4, JCS_CMYK, false));
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(image.status().message()), HasSubstr("CMYK"));
}

TEST(ImageCodec, TransparencyIsLaidOverWhite) {
  const std::string rgba(
      "\x0a\x14\x1e\x00"
      "\x0a\x14\x1e\xff"
      "\x00\x00\x00\x80",
      12);
  const auto image = DecodeImage(PngOf(rgba, 3, 1, PNG_FORMAT_RGBA));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->rgb, std::string("\xff\xff\xff"
                                    "\x0a\x14\x1e"
                                    "\x7f\x7f\x7f",
                                    9));
}

TEST(ImageCodec, GreyPngBecomesRgb) {
  const auto image = DecodeImage(PngOf(std::string("\x00\x40\xff\x10", 4), 2, 2, PNG_FORMAT_GRAY));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->rgb, std::string("\x00\x00\x00\x40\x40\x40\xff\xff\xff\x10\x10\x10", 12));
}

TEST(ImageCodec, SizesOutsideTheLimitsAreRefusedBeforeAllocation) {
  EXPECT_FALSE(EncodeWebp("", 0, 0).ok());
  EXPECT_FALSE(EncodeWebp("abc", 2, 1).ok());
  EXPECT_FALSE(EncodePng(std::string(3 * (kMaxImageSide + 1), 'x'), kMaxImageSide + 1, 1).ok());
  // A PNG header that claims 8192 x 8192 (67 megapixels), and one that claims 2^31 - 1: the checksum is made to fit.
  for (const uint32_t side : {8192u, 0x7fffffffu}) {
    std::string bytes = *EncodePng("abc", 1, 1);
    for (int i = 0; i < 4; ++i) bytes[16 + i] = bytes[20 + i] = static_cast<char>(side >> (24 - 8 * i));
    uint32_t crc = 0xffffffffu;
    for (int i = 12; i < 29; ++i) {
      crc ^= static_cast<uint8_t>(bytes[i]);
      for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    crc ^= 0xffffffffu;
    for (int i = 0; i < 4; ++i) bytes[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
    EXPECT_EQ(DecodeImage(bytes).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReadImageHeader(bytes).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ImageCodec, TruncatedFilesAreErrors) {
  const std::string rgb = Noise(33, 21, 3);
  for (const std::string& bytes : {*EncodeWebp(rgb, 33, 21), *EncodePng(rgb, 33, 21), JpegOf(rgb, 33, 21, 3, JCS_RGB, false)}) {
    for (size_t size = 0; size < bytes.size() - 12; ++size) {
      EXPECT_FALSE(DecodeImage(absl::string_view(bytes).substr(0, size)).ok()) << size << " of " << bytes.size();
    }
  }
}

TEST(ImageCodec, DamagedBytesNeverCrash) {
  std::mt19937 rng(11);
  const std::string rgb = Smooth(40, 24);
  const std::string files[] = {*EncodeWebp(rgb, 40, 24), *EncodePng(rgb, 40, 24), JpegOf(rgb, 40, 24, 3, JCS_RGB, false),
                               JpegOf(rgb, 40, 24, 3, JCS_RGB, true)};
  int refused = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::string bytes = files[trial % 4];
    for (uint32_t flips = 1 + rng() % 8; flips > 0; --flips) bytes[rng() % bytes.size()] = static_cast<char>(rng());
    const auto image = DecodeImage(bytes);
    if (!image.ok()) {
      ++refused;
      continue;
    }
    EXPECT_EQ(image->rgb.size(), size_t{3} * image->width * image->height);
  }
  EXPECT_GT(refused, 1000);
  for (int trial = 0; trial < 1000; ++trial) EXPECT_FALSE(DecodeImage(Noise(1 + trial % 50, 1, trial)).ok());
}

}  // namespace
}  // namespace promptsweep::worker
