#include "cli/picture.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace promptsweep::cli {
namespace {

constexpr int kGap = 4;
constexpr char kGround = static_cast<char>(0xf2);

}  // namespace

worker::Image Shrink(const worker::Image& image, int side) {
  const double scale = static_cast<double>(side) / std::max(image.width, image.height);
  if (scale >= 1) return image;
  worker::Image out;
  out.width = std::max(1, static_cast<int>(std::lround(image.width * scale)));
  out.height = std::max(1, static_cast<int>(std::lround(image.height * scale)));
  out.rgb.resize(static_cast<size_t>(3) * out.width * out.height);
  const auto bound = [](int at, int from, int to) { return static_cast<int>(static_cast<int64_t>(at) * from / to); };
  for (int y = 0; y < out.height; ++y) {
    const int top = bound(y, image.height, out.height), bottom = std::max(top + 1, bound(y + 1, image.height, out.height));
    for (int x = 0; x < out.width; ++x) {
      const int left = bound(x, image.width, out.width), right = std::max(left + 1, bound(x + 1, image.width, out.width));
      uint64_t sum[3] = {0, 0, 0};
      for (int v = top; v < bottom; ++v) {
        for (int u = left; u < right; ++u) {
          for (int c = 0; c < 3; ++c)
            sum[c] += static_cast<unsigned char>(image.rgb[3 * (static_cast<size_t>(v) * image.width + u) + c]);
        }
      }
      const uint64_t area = static_cast<uint64_t>(bottom - top) * (right - left);
      for (int c = 0; c < 3; ++c)
        out.rgb[3 * (static_cast<size_t>(y) * out.width + x) + c] = static_cast<char>((sum[c] + area / 2) / area);
    }
  }
  return out;
}

worker::Image ContactSheet(const std::vector<worker::Image>& pictures, int side) {
  PS_CHECK(!pictures.empty());
  const int columns = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(pictures.size()))));
  const int rows = (static_cast<int>(pictures.size()) + columns - 1) / columns;
  worker::Image sheet;
  sheet.width = columns * (side + kGap) + kGap;
  sheet.height = rows * (side + kGap) + kGap;
  sheet.rgb.assign(static_cast<size_t>(3) * sheet.width * sheet.height, kGround);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const worker::Image picture = Shrink(pictures[i], side);
    const int left = kGap + static_cast<int>(i % columns) * (side + kGap) + (side - picture.width) / 2;
    const int top = kGap + static_cast<int>(i / columns) * (side + kGap) + (side - picture.height) / 2;
    for (int y = 0; y < picture.height; ++y) {
      std::copy_n(picture.rgb.data() + static_cast<size_t>(3) * y * picture.width, static_cast<size_t>(3) * picture.width,
                  sheet.rgb.data() + 3 * (static_cast<size_t>(top + y) * sheet.width + left));
    }
  }
  return sheet;
}

}  // namespace promptsweep::cli
