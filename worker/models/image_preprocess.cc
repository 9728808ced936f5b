#include "worker/models/image_preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxEdge = 4096;
constexpr int64_t kMaxPixels = int64_t{1} << 22;
constexpr std::array<double, 3> kClipMean = {0.48145466, 0.4578275, 0.40821073},
                                kClipDeviation = {0.26862954, 0.26130258, 0.27577711};
constexpr std::array<double, 3> kHalf = {0.5, 0.5, 0.5};

[[noreturn]] void Refuse(const JsonFile& json, const std::string& key, const std::string& what) {
  throw LoadError(absl::StrCat(json.path(), ": ", key, " ", what));
}

// One number a channel, or one for all.
std::array<double, 3> Channels(const JsonFile& json, const std::string& key, std::array<double, 3> otherwise) {
  if (!json.Has(key)) return otherwise;
  if (json.value().at(key).is_number()) {
    const double all = json.Number(key, -1e9, 1e9);
    return {all, all, all};
  }
  const auto list = json.Numbers(key, 3);
  return {list[0], list[1], list[2]};
}

// Known processors by their name without "ImageProcessor", "FeatureExtractor" and "Fast".
Preprocess::Processor ProcessorOf(const JsonFile& json, Preprocess::Processor otherwise) {
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    if (!json.Has(key)) continue;
    const std::string name = json.Text(key);
    absl::string_view kind = name;
    absl::ConsumeSuffix(&kind, "Fast");
    if (absl::ConsumeSuffix(&kind, "ImageProcessor") || absl::ConsumeSuffix(&kind, "FeatureExtractor")) {
      if (kind == "CLIP") return Preprocess::Processor::kClip;
      if (kind == "Siglip") return Preprocess::Processor::kSiglip;
      if (kind == "Bit") return Preprocess::Processor::kBit;
    }
    Refuse(json, key,
           absl::StrCat("\"", name.substr(0, 80),
                        "\" is not known; known: CLIPImageProcessor, SiglipImageProcessor, BitImageProcessor"));
  }
  return otherwise;
}

// Steps this program does not know must not be silently left out.
void CheckSteps(const JsonFile& json, bool crops) {
  for (const auto& [key, value] : json.value().items()) {
    if (!absl::StartsWith(key, "do_") || value.is_null() || value == false) continue;
    if (key == "do_resize" || key == "do_rescale" || key == "do_normalize" || key == "do_convert_rgb") continue;
    if (key == "do_center_crop" && crops) continue;
    Refuse(json, key.substr(0, 80), "is not a step this processor has");
  }
}

// The only keys of a size that are not null.
std::vector<std::string> KeysOf(const JsonFile& size) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : size.value().items()) {
    if (!value.is_null()) keys.push_back(key);
  }
  return keys;
}

std::pair<int64_t, int64_t> HeightWidth(const JsonFile& json, const std::string& key, int64_t otherwise) {
  if (!json.Has(key)) return {otherwise, otherwise};
  if (!json.value().at(key).is_object()) {
    const int64_t side = json.Int(key, 1, kMaxEdge);
    return {side, side};
  }
  const JsonFile size = json.Child(key);
  if (KeysOf(size) != std::vector<std::string>{"height", "width"}) Refuse(json, key, "is not {\"height\", \"width\"}");
  return {size.Int("height", 1, kMaxEdge), size.Int("width", 1, kMaxEdge)};
}

int64_t FloorHalf(int64_t difference) { return difference >> 1; }
// Python's round(difference / 2): halves go to the even neighbour.
int64_t RoundHalf(int64_t difference) { return static_cast<int64_t>(std::nearbyint(static_cast<double>(difference) / 2)); }

}  // namespace

Preprocess Preprocess::HuggingFace(const JsonFile& json, Processor otherwise, int64_t side) {
  const Processor processor = ProcessorOf(json, otherwise);
  const bool siglip = processor == Processor::kSiglip;
  CheckSteps(json, !siglip);
  Preprocess p;
  constexpr int64_t kBilinear = 2, kBicubic = 3;  // Pillow's numbers
  const int64_t filter = json.Int("resample", 0, 5, kBicubic);
  if (filter != kBilinear && filter != kBicubic) {
    Refuse(json, "resample", absl::StrCat("is ", filter, "; only 2 (bilinear) and 3 (bicubic) are supported"));
  }
  p.filter_ = filter == kBicubic ? ResizeFilter::kBicubic : ResizeFilter::kBilinear;
  const bool as_object = json.Has("size") && json.value().at("size").is_object();
  const bool shortest = as_object ? KeysOf(json.Child("size")) == std::vector<std::string>{"shortest_edge"} : !siglip;
  if (shortest && siglip) Refuse(json, "size", "has \"shortest_edge\"; SiglipImageProcessor takes \"height\" and \"width\"");
  if (shortest) {
    p.edge_ = as_object ? json.Child("size").Int("shortest_edge", 1, kMaxEdge) : json.Int("size", 1, kMaxEdge, side);
    p.height_ = p.width_ = p.edge_;
  } else {
    std::tie(p.height_, p.width_) = HeightWidth(json, "size", side);
  }
  if (json.Bool("do_resize", true)) {
    p.resize_ = shortest && !json.Bool("use_square_size", false) ? Resize::kShortest : Resize::kExact;
  }
  p.crop_ = !siglip && json.Bool("do_center_crop", true);
  std::tie(p.crop_height_, p.crop_width_) = HeightWidth(json, "crop_size", side);
  const double factor = json.Number("rescale_factor", 1e-6, 1, 1.0 / 255);
  if (json.Bool("do_rescale", true)) p.scale_ = factor;
  const auto mean = Channels(json, "image_mean", siglip ? kHalf : kClipMean);
  const auto deviation = Channels(json, "image_std", siglip ? kHalf : kClipDeviation);
  if (json.Bool("do_normalize", true)) {
    p.mean_ = mean;
    p.deviation_ = deviation;
    p.CheckDeviation(json.path());
  }
  return p;
}

Preprocess Preprocess::OpenClip(const JsonFile& json, int64_t side) {
  Preprocess p;
  if (const std::string mode = json.Text("mode", "RGB"); mode != "RGB") Refuse(json, "preprocess_cfg.mode", "is not \"RGB\"");
  const std::string filter = json.Text("interpolation", "bicubic");
  if (filter != "bicubic" && filter != "bilinear" && filter != "random") {
    Refuse(json, "preprocess_cfg.interpolation", "is not bicubic or bilinear");
  }
  p.filter_ = filter == "bilinear" ? ResizeFilter::kBilinear : ResizeFilter::kBicubic;  // "random" is for training
  const std::string mode = json.Text("resize_mode", "shortest");
  if (mode == "squash") {
    p.resize_ = Resize::kExact;
  } else if (mode == "shortest" || mode == "longest") {
    p.resize_ = mode == "shortest" ? Resize::kShortest : Resize::kLongest;
    p.crop_ = true;
  } else {
    Refuse(json, "preprocess_cfg.resize_mode", "is not shortest, longest or squash");
  }
  p.edge_ = p.height_ = p.width_ = p.crop_height_ = p.crop_width_ = side;
  p.torchvision_ = true;
  p.fill_ = static_cast<double>(json.Int("fill_color", 0, 255, 0));
  p.scale_ = 1.0 / 255;
  p.mean_ = Channels(json, "mean", kClipMean);
  p.deviation_ = Channels(json, "std", kClipDeviation);
  p.CheckDeviation(json.path());
  return p;
}

void Preprocess::CheckDeviation(const std::string& path) const {
  for (const double d : deviation_) {
    if (!(d > 0)) throw LoadError(absl::StrCat(path, ": image_std holds ", d, "; expected numbers above 0"));
  }
}

std::optional<std::pair<int64_t, int64_t>> Preprocess::size() const {
  if (crop_) return std::pair(crop_height_, crop_width_);
  if (resize_ == Resize::kExact) return std::pair(height_, width_);
  return std::nullopt;
}

std::pair<int64_t, int64_t> Preprocess::Resized(int64_t h, int64_t w) const {
  const auto scaled = [&](int64_t length) -> int64_t {
    if (resize_ == Resize::kShortest) return edge_ * length / std::min(h, w);  // both references cut
    // open_clip's own expression, in its order.
    const double ratio =
        std::max(static_cast<double>(h) / static_cast<double>(edge_), static_cast<double>(w) / static_cast<double>(edge_));
    return std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(static_cast<double>(length) / ratio)));
  };
  switch (resize_) {
    case Resize::kNone:
      return {h, w};
    case Resize::kExact:
      return {height_, width_};
    case Resize::kShortest:
    case Resize::kLongest:
      break;
  }
  return {scaled(h), scaled(w)};
}

at::Tensor Preprocess::operator()(const at::Tensor& images, at::ScalarType dtype) const {
  const auto [height, width] = Resized(images.size(2), images.size(3));
  // A strip one pixel high becomes as high as any other picture, and as much longer.
  if (resize_ == Resize::kShortest && !crop_ && height * width > kMaxPixels) {
    throw LoadError(absl::StrCat("an image of ", images.size(3), "x", images.size(2), " pixels would be resized to ", width, "x",
                                 height, ", more than ", kMaxPixels, " pixels"));
  }
  const int64_t missing_h = crop_ ? std::max<int64_t>(0, crop_height_ - height) : 0;
  const int64_t missing_w = crop_ ? std::max<int64_t>(0, crop_width_ - width) : 0;
  const auto half = [&](int64_t difference) {
    return difference <= 0 ? 0 : torchvision_ ? RoundHalf(difference) : FloorHalf(difference);
  };
  ResizeWindow window{0, 0, height, width};
  if (crop_) {
    window = {half(height - crop_height_), half(width - crop_width_), std::min(height, crop_height_),
              std::min(width, crop_width_)};
  }
  at::Tensor x = ResizeAsPillow(images, height, width, filter_, window);
  if (missing_h > 0 || missing_w > 0) {
    // An odd margin's extra row stands first in transformers, last in torchvision.
    const int64_t extra = torchvision_ ? 0 : 1, top = (missing_h + extra) / 2, left = (missing_w + extra) / 2;
    x = at::constant_pad_nd(x, {left, missing_w - left, top, missing_h - top}, fill_);
  }
  const auto column = [&](const std::array<double, 3>& v) {
    return at::tensor(at::ArrayRef<double>(v.data(), v.size()), at::kFloat).to(x.device()).view({1, 3, 1, 1});
  };
  return x.mul(scale_).sub_(column(mean_)).div_(column(deviation_)).to(dtype).contiguous();
}

}  // namespace promptsweep::worker
