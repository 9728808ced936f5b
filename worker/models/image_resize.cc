#include "worker/models/image_resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace promptsweep::worker {
namespace {

constexpr int kPrecisionBits = 22;
// Outputs that share a window of inputs: wide enough for a product to be worth its call, narrow enough to skip most zeros.
constexpr int64_t kBand = 32;
constexpr int64_t kGroupBytes = 32 << 20;

double FilterSupport(ResizeFilter filter) { return filter == ResizeFilter::kBicubic ? 2 : 1; }

double FilterAt(ResizeFilter filter, double x) {
  x = std::abs(x);
  if (filter == ResizeFilter::kBilinear) return x < 1 ? 1 - x : 0;
  constexpr double kA = -0.5;
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

struct Band {
  int64_t begin, size;  // of the inputs
  at::Tensor weights;   // double [size, outputs]
};

// For the outputs [window, window + size) of `out`.
std::vector<Band> Bands(int64_t in, int64_t out, int64_t window, int64_t size, ResizeFilter filter, const at::Device& device) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), filter_scale = std::max(scale, 1.0);
  const double support = FilterSupport(filter) * filter_scale, inverse = 1 / filter_scale;
  std::vector<Band> bands;
  for (int64_t first = window; first < window + size; first += kBand) {
    const int64_t count = std::min(kBand, window + size - first);
    std::vector<int64_t> begins;
    std::vector<std::vector<double>> rows;
    int64_t begin = in, end = 0;
    for (int64_t i = first; i < first + count; ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      const auto from = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
      const auto to = std::min(in, static_cast<int64_t>(center + support + 0.5));
      std::vector<double> row;
      double sum = 0;
      for (int64_t x = from; x < to; ++x) {
        row.push_back(FilterAt(filter, (static_cast<double>(x) - center + 0.5) * inverse));
        sum += row.back();
      }
      for (double& weight : row) {
        if (sum != 0) weight /= sum;
        weight = std::trunc(weight * (1 << kPrecisionBits) + (weight < 0 ? -0.5 : 0.5)) / (1 << kPrecisionBits);
      }
      begin = std::min(begin, from);
      end = std::max(end, to);
      begins.push_back(from);
      rows.push_back(std::move(row));
    }
    at::Tensor weights = at::zeros({end - begin, count}, at::kDouble);
    auto* data = weights.mutable_data_ptr<double>();
    for (int64_t i = 0; i < count; ++i) {
      for (size_t x = 0; x < rows[i].size(); ++x) {
        data[(begins[i] - begin + static_cast<int64_t>(x)) * count + i] = rows[i][x];
      }
    }
    bands.push_back({begin, end - begin, weights.to(device)});
  }
  return bands;
}

at::Tensor Levels(at::Tensor x) { return x.add_(0.5).floor_().clamp_(0, 255); }

// double [n, h, w] -> [n, h, out].
at::Tensor Across(const at::Tensor& x, const std::vector<Band>& bands) {
  std::vector<at::Tensor> parts;
  for (const Band& band : bands) {
    parts.push_back(at::mm(x.view({-1, x.size(2)}).narrow(1, band.begin, band.size), band.weights));
  }
  return Levels(at::cat(parts, 1)).view({x.size(0), x.size(1), -1});
}

// double [n, h, w] -> [n, out, w].
at::Tensor Down(const at::Tensor& x, const std::vector<Band>& bands) {
  std::vector<at::Tensor> parts;
  for (const Band& band : bands) {
    const at::Tensor weights = band.weights.t().unsqueeze(0).expand({x.size(0), -1, -1});
    parts.push_back(at::bmm(weights, x.narrow(1, band.begin, band.size)));
  }
  return Levels(at::cat(parts, 1));
}

}  // namespace

at::Tensor ResizeAsPillow(const at::Tensor& images, int64_t height, int64_t width, ResizeFilter filter,
                          const ResizeWindow& window) {
  const int64_t n = images.size(0), c = images.size(1), h = images.size(2), w = images.size(3);
  at::Tensor rest = images;
  std::vector<Band> across, down;
  if (w == width) {
    rest = rest.narrow(3, window.left, window.width);
  } else {
    across = Bands(w, width, window.left, window.width, filter, images.device());
  }
  if (h == height) {
    rest = rest.narrow(2, window.top, window.height);
  } else {
    down = Bands(h, height, window.top, window.height, filter, images.device());
  }
  if (across.empty() && down.empty()) return rest.to(at::kFloat);
  at::Tensor out = at::empty({n, c, window.height, window.width}, images.options().dtype(at::kFloat));
  const int64_t image_bytes = c * rest.size(2) * std::max(rest.size(3), window.width) * static_cast<int64_t>(sizeof(double));
  const int64_t group = std::max<int64_t>(1, kGroupBytes / image_bytes);
  for (int64_t begin = 0; begin < n; begin += group) {
    const int64_t count = std::min(group, n - begin);
    at::Tensor x = rest.narrow(0, begin, count).to(at::kDouble, false, true, at::MemoryFormat::Contiguous);
    x = x.view({count * c, rest.size(2), rest.size(3)});
    if (!across.empty()) x = Across(x, across);
    if (!down.empty()) x = Down(x, down);
    out.narrow(0, begin, count).copy_(x.view({count, c, window.height, window.width}));
  }
  return out;
}

}  // namespace promptsweep::worker
