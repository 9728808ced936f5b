#include "jobs/motifs/copies/perceptual_hash.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

namespace promptsweep::motifs {
namespace {

constexpr int kSide = 64;         // of the reduced picture
constexpr int kFrequencies = 16;  // each way
constexpr int kLeastSide = 5;
constexpr int kPasses = 2;

// Means over `window` neighbours along a line of `count` values, `stride` apart; at the ends over those that there are.
void BoxFilter(const float* in, float* out, int count, int stride, int window) {
  const int right = window / 2, left = window - 1 - right;
  float sum = 0;
  int first = 0, past = 0;
  for (int i = 0; i < count; ++i) {
    for (; past < std::min(count, i + right + 1); ++past) sum += in[static_cast<size_t>(past) * stride];
    for (; first < i - left; ++first) sum -= in[static_cast<size_t>(first) * stride];
    out[static_cast<size_t>(i) * stride] = sum / static_cast<float>(past - first);
  }
}

// Half a block of the reduced picture, since there are two passes.
int WindowOf(int side) { return (side + 2 * kSide - 1) / (2 * kSide); }

using Reduced = std::array<std::array<float, kSide>, kSide>;

Reduced Reduce(const worker::Image& image) {
  const int width = image.width, height = image.height;
  std::vector<float> luma(static_cast<size_t>(width) * height), other(luma.size());
  const auto* rgb = reinterpret_cast<const unsigned char*>(image.rgb.data());
  for (size_t i = 0; i < luma.size(); ++i) luma[i] = 0.299f * rgb[3 * i] + 0.587f * rgb[3 * i + 1] + 0.114f * rgb[3 * i + 2];
  for (int pass = 0; pass < kPasses; ++pass) {
    for (int y = 0; y < height; ++y) {
      const size_t row = static_cast<size_t>(y) * width;
      BoxFilter(luma.data() + row, other.data() + row, width, 1, WindowOf(width));
    }
    for (int x = 0; x < width; ++x) BoxFilter(other.data() + x, luma.data() + x, height, width, WindowOf(height));
  }
  Reduced reduced;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const auto centre = [](int at, int side) { return static_cast<size_t>((at + 0.5) * side / kSide); };
      reduced[y][x] = luma[centre(y, height) * width + centre(x, width)];
    }
  }
  return reduced;
}

// Sum of the steps between neighbours in whole percent of the range, over 90.
int QualityOf(const Reduced& a) {
  int sum = 0;
  const auto step = [](float u, float v) { return std::abs(static_cast<int>((u - v) * 100 / 255)); };
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) {
      if (i + 1 < kSide) sum += step(a[i][j], a[i + 1][j]);
      if (j + 1 < kSide) sum += step(a[i][j], a[i][j + 1]);
    }
  }
  return std::min(100, sum / 90);
}

// The cosine transform's frequencies 1..16, each way; the mean is left out.
std::array<float, kHashBits> Transform(const Reduced& a) {
  static const auto basis = [] {
    std::array<std::array<float, kSide>, kFrequencies> rows;
    for (int i = 0; i < kFrequencies; ++i) {
      for (int j = 0; j < kSide; ++j) {
        rows[i][j] = static_cast<float>(std::sqrt(2.0 / kSide) * std::cos(std::numbers::pi / 2 / kSide * (i + 1) * (2 * j + 1)));
      }
    }
    return rows;
  }();
  std::array<std::array<float, kSide>, kFrequencies> half{};
  for (int i = 0; i < kFrequencies; ++i) {
    for (int k = 0; k < kSide; ++k) {
      for (int j = 0; j < kSide; ++j) half[i][j] += basis[i][k] * a[k][j];
    }
  }
  std::array<float, kHashBits> out{};
  for (int i = 0; i < kFrequencies; ++i) {
    for (int j = 0; j < kFrequencies; ++j) {
      for (int k = 0; k < kSide; ++k) out[kFrequencies * i + j] += half[i][k] * basis[j][k];
    }
  }
  return out;
}

}  // namespace

PerceptualHash HashPicture(const worker::Image& image) {
  PerceptualHash hash;
  if (std::min(image.width, image.height) < kLeastSide) return hash;
  const Reduced reduced = Reduce(image);
  hash.quality = QualityOf(reduced);
  const std::array<float, kHashBits> coefficients = Transform(reduced);
  std::array<float, kHashBits> sorted = coefficients;
  std::nth_element(sorted.begin(), sorted.begin() + kHashBits / 2 - 1, sorted.end());
  const float median = sorted[kHashBits / 2 - 1];
  for (int k = 0; k < kHashBits; ++k) hash.words[k / 64] |= uint64_t{coefficients[k] > median} << (k % 64);
  return hash;
}

int Distance(const PerceptualHash& a, const PerceptualHash& b) {
  int bits = 0;
  for (size_t w = 0; w < a.words.size(); ++w) bits += std::popcount(a.words[w] ^ b.words[w]);
  return bits;
}

}  // namespace promptsweep::motifs
