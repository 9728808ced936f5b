// Pictures by formula for the tests of copies.
#pragma once

#include <cstddef>
#include <cstdio>
// Needs the types above.
#include <jpeglib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "worker/pipeline/image_codec.h"

namespace promptsweep::motifs {

using worker::Image;

// A grid of drawn colours, `cells` each way, blended, in integers.
inline Image Grid(int width, int height, int cells, uint32_t seed) {
  uint32_t state = seed;
  std::vector<int> grid;
  for (int i = 0; i < (cells + 1) * (cells + 1) * 3; ++i) {
    state = state * 1664525u + 1013904223u;
    grid.push_back(static_cast<int>(state >> 24));
  }
  Image image{width, height, std::string(static_cast<size_t>(3) * width * height, '\0')};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int gy = y * cells * 256 / height, gx = x * cells * 256 / width;
      const auto at = [&](int down, int right, int c) {
        return grid[3 * ((gy / 256 + down) * (cells + 1) + gx / 256 + right) + c];
      };
      for (int c = 0; c < 3; ++c) {
        const int top = at(0, 0, c) * (256 - gx % 256) + at(0, 1, c) * (gx % 256);
        const int bottom = at(1, 0, c) * (256 - gx % 256) + at(1, 1, c) * (gx % 256);
        image.rgb[3 * (static_cast<size_t>(y) * width + x) + c] =
            static_cast<char>((top * (256 - gy % 256) + bottom * (gy % 256)) / 65536);
      }
    }
  }
  return image;
}

// As in reference/make_pdq_reference.py.
inline Image Blobs(int width, int height, uint32_t seed) { return Grid(width, height, 2 + static_cast<int>(seed % 9), seed); }

// Detail at every size, less of the finer, as photographs have.
inline Image Scene(int width, int height, uint32_t seed) {
  Image image{width, height, std::string(static_cast<size_t>(3) * width * height, '\0')};
  std::vector<double> sum(image.rgb.size(), -70);
  for (const auto& [cells, weight] : {std::pair{3, 0.6}, {6, 0.4}, {12, 0.25}, {24, 0.18}, {48, 0.12}}) {
    const Image part = Grid(width, height, cells, 977 * seed + cells);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * static_cast<unsigned char>(part.rgb[i]);
  }
  for (size_t i = 0; i < sum.size(); ++i) image.rgb[i] = static_cast<char>(std::clamp(std::lround(sum[i]), 0L, 255L));
  return image;
}

// Encoded as JPEG and decoded again.
inline Image Jpeg(const Image& image, int quality) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = image.width;
  info.image_height = image.height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row =
        reinterpret_cast<unsigned char*>(const_cast<char*>(image.rgb.data())) + size_t{3} * info.next_scanline * image.width;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  const std::string bytes(reinterpret_cast<char*>(memory), size);
  std::free(memory);
  return *worker::DecodeImage(bytes);
}

// Bilinear, sampled at the pixels' centres.
inline Image Resized(const Image& image, int width, int height) {
  Image out{width, height, std::string(static_cast<size_t>(3) * width * height, '\0')};
  const auto value = [&](int y, int x, int c) {
    y = std::clamp(y, 0, image.height - 1), x = std::clamp(x, 0, image.width - 1);
    return static_cast<double>(static_cast<unsigned char>(image.rgb[3 * (static_cast<size_t>(y) * image.width + x) + c]));
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double v = (y + 0.5) * image.height / height - 0.5, u = (x + 0.5) * image.width / width - 0.5;
      const int v0 = static_cast<int>(std::floor(v)), u0 = static_cast<int>(std::floor(u));
      for (int c = 0; c < 3; ++c) {
        const double top = value(v0, u0, c) * (1 - u + u0) + value(v0, u0 + 1, c) * (u - u0);
        const double bottom = value(v0 + 1, u0, c) * (1 - u + u0) + value(v0 + 1, u0 + 1, c) * (u - u0);
        out.rgb[3 * (static_cast<size_t>(y) * width + x) + c] =
            static_cast<char>(std::lround(top * (1 - v + v0) + bottom * (v - v0)));
      }
    }
  }
  return out;
}

// Every value moved by up to `share` of the range.
inline Image Noisy(Image image, double share, std::mt19937_64& random) {
  for (char& byte : image.rgb) {
    const double move = (static_cast<double>(random() >> 11) / (uint64_t{1} << 53) * 2 - 1) * share * 255;
    byte = static_cast<char>(std::clamp(std::lround(static_cast<unsigned char>(byte) + move), 0L, 255L));
  }
  return image;
}

// `inside` pasted over the middle of `frame`, a border of `share` of either side staying visible.
inline Image Framed(Image frame, const Image& inside, double share) {
  const int left = static_cast<int>(frame.width * share), top = static_cast<int>(frame.height * share);
  const Image middle = Resized(inside, frame.width - 2 * left, frame.height - 2 * top);
  for (int y = 0; y < middle.height; ++y) {
    std::copy_n(middle.rgb.data() + size_t{3} * y * middle.width, 3 * middle.width,
                frame.rgb.data() + 3 * ((static_cast<size_t>(y) + top) * frame.width + left));
  }
  return frame;
}

}  // namespace promptsweep::motifs
