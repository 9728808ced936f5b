#include "jobs/motifs/copies/pixels.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/hash.h"

namespace promptsweep::motifs {
namespace {

constexpr int kChannels = 3;
constexpr int kTileSide = kOverlaySide / kTiles;

// Which pixels of the picture a pixel of the overlay is the mean of, and their weights, which sum to 1.
struct Taps {
  int first = 0;
  std::vector<float> weights;
};

std::vector<Taps> TapsOf(int side) {
  std::vector<Taps> all(kOverlaySide);
  const double scale = static_cast<double>(side) / kOverlaySide, reach = std::max(1.0, scale);
  for (int i = 0; i < kOverlaySide; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(std::floor(centre - reach)));
    const int past = std::min(side, static_cast<int>(std::ceil(centre + reach)));
    std::vector<double> weights;
    double sum = 0;
    for (int at = first; at < past; ++at) {
      weights.push_back(std::max(0.0, 1 - std::abs(at + 0.5 - centre) / reach));
      sum += weights.back();
    }
    all[i].first = first;
    for (const double weight : weights) all[i].weights.push_back(static_cast<float>(weight / sum));
  }
  return all;
}

}  // namespace

Overlay OverlayOf(const worker::Image& image) {
  const std::vector<Taps> across = TapsOf(image.width), down = TapsOf(image.height);
  const auto* rgb = reinterpret_cast<const unsigned char*>(image.rgb.data());
  constexpr int kRow = kOverlaySide * kChannels;
  std::vector<float> narrow(static_cast<size_t>(image.height) * kRow);
  for (int y = 0; y < image.height; ++y) {
    const unsigned char* in = rgb + static_cast<size_t>(y) * image.width * kChannels;
    float* out = narrow.data() + static_cast<size_t>(y) * kRow;
    for (int x = 0; x < kOverlaySide; ++x) {
      const unsigned char* at = in + across[x].first * kChannels;
      for (const float weight : across[x].weights) {
        for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] += weight * *at++;
      }
    }
  }
  Overlay overlay(static_cast<size_t>(kOverlaySide) * kRow);
  std::vector<float> line(kRow);
  for (int y = 0; y < kOverlaySide; ++y) {
    std::fill(line.begin(), line.end(), 0.5f);
    const float* in = narrow.data() + static_cast<size_t>(down[y].first) * kRow;
    for (const float weight : down[y].weights) {
      for (int i = 0; i < kRow; ++i) line[i] += weight * *in++;
    }
    for (int i = 0; i < kRow; ++i) {
      overlay[static_cast<size_t>(y) * kRow + i] = static_cast<uint8_t>(std::clamp(line[i], 0.0f, 255.0f));
    }
  }
  return overlay;
}

std::string PixelDigest(const worker::Image& image) {
  return Sha256Of(absl::StrCat(image.width, "x", image.height, "/", image.rgb));
}

double TileMaxRms(const Overlay& a, const Overlay& b, double enough) {
  constexpr int kRun = kTileSide * kChannels;
  constexpr double kScale = 1.0 / (255.0 * 255.0 * kTileSide * kTileSide * kChannels);
  double largest = 0;
  for (int ty = 0; ty < kTiles; ++ty) {
    std::array<int32_t, kTiles> sums{};  // at most 255^2 * 3072 < 2^31
    for (int y = ty * kTileSide; y < (ty + 1) * kTileSide; ++y) {
      for (int tx = 0; tx < kTiles; ++tx) {
        const size_t at = (static_cast<size_t>(y) * kTiles + tx) * kRun;
        const uint8_t *u = a.data() + at, *v = b.data() + at;
        int32_t sum = 0;
        for (int i = 0; i < kRun; ++i) {
          const int16_t d = static_cast<int16_t>(u[i] - v[i]);
          sum += int32_t{d} * d;
        }
        sums[tx] += sum;
      }
    }
    largest = std::max(largest, std::sqrt(kScale * *std::max_element(sums.begin(), sums.end())));
    if (largest > enough) break;
  }
  return largest;
}

double Contrast(const Overlay& a) {
  std::array<uint64_t, kChannels> sums{}, squares{};
  for (size_t i = 0; i < a.size(); ++i) {
    sums[i % kChannels] += a[i];
    squares[i % kChannels] += uint64_t{a[i]} * a[i];
  }
  const double n = static_cast<double>(a.size()) / kChannels;
  double variance = 0;
  for (int c = 0; c < kChannels; ++c) variance += squares[c] / n - (sums[c] / n) * (sums[c] / n);
  return std::sqrt(std::max(0.0, variance) / kChannels) / 255;
}

double TemplateScore(absl::Span<const Overlay* const> pictures, double least_deviation, absl::Span<const Overlay* const> others) {
  constexpr double kFewestLeft = 0.02;
  if (pictures.size() < 2) return 0;
  const size_t values = pictures[0]->size();
  std::vector<uint32_t> sums(values), squares(values);  // of bytes: exact up to 66,000 pictures
  for (const Overlay* picture : pictures) {
    for (size_t i = 0; i < values; ++i) {
      const uint32_t v = (*picture)[i];
      sums[i] += v;
      squares[i] += v * v;
    }
  }
  const double n = static_cast<double>(pictures.size());
  const double limit = least_deviation * least_deviation * 255 * 255 * kChannels;
  const auto shown_by_half = [&](size_t pixel) {
    size_t alike = 0;
    for (const Overlay* other : others) {
      double difference = 0;
      for (int c = 0; c < kChannels; ++c) {
        const double d = (*other)[pixel + c] - sums[pixel + c] / n;
        difference += d * d;
      }
      alike += difference < limit;
    }
    return !others.empty() && 2 * alike >= others.size();
  };
  size_t fixed = 0, counted = 0;
  for (size_t pixel = 0; pixel < values; pixel += kChannels) {
    double variance = 0;
    for (int c = 0; c < kChannels; ++c) {
      const double sum = sums[pixel + c];
      variance += (squares[pixel + c] - sum * sum / n) / (n - 1);
    }
    const bool still = variance < limit;
    if (still && shown_by_half(pixel)) continue;
    ++counted;
    fixed += still;
  }
  if (static_cast<double>(counted * kChannels) < kFewestLeft * static_cast<double>(values)) return 0;
  return static_cast<double>(fixed) / static_cast<double>(counted);
}

}  // namespace promptsweep::motifs
