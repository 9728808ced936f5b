// How an image becomes a model's input: resize, crop, rescale, normalise, as the model's own files say.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "worker/models/image_resize.h"
#include "worker/tensors/json_file.h"

namespace promptsweep::worker {

// Immutable, thread-safe, cheap to copy.
//
// Resizing gives Pillow's levels exactly (image_resize.h), as transformers' image processors other than the ...Fast ones and
// open_clip's transforms use it. The arithmetic after it is float32.
class Preprocess {
 public:
  // The image processors of transformers, whose defaults differ.
  enum class Processor { kClip, kSiglip, kBit };

  // preprocessor_config.json: CLIPImageProcessor, SiglipImageProcessor, BitImageProcessor (each also as ...Fast, and under its
  // older name ...FeatureExtractor; sizes as a number or an object). `otherwise` is meant where the file names no processor.
  // `side` is the model's image_size and stands where the file leaves a size out. Throws LoadError, naming the key, for a
  // processor or a step ("do_pad") that is not one of these, and for a filter other than bicubic and bilinear.
  static Preprocess HuggingFace(const JsonFile& json, Processor otherwise, int64_t side);
  // "preprocess_cfg" of open_clip_config.json, of a model that takes side x side. Throws LoadError.
  static Preprocess OpenClip(const JsonFile& json, int64_t side);

  // Height and width of every result; nothing where they depend on the image.
  std::optional<std::pair<int64_t, int64_t>> size() const;

  // uint8 [n, 3, h, w] -> [n, 3, height, width] of `dtype` on the same device. Throws LoadError for images so long that,
  // uncropped with their short side as asked, they would have more than 4 million pixels.
  at::Tensor operator()(const at::Tensor& images, at::ScalarType dtype) const;

 private:
  enum class Resize { kNone, kShortest, kLongest, kExact };

  Preprocess() = default;
  void CheckDeviation(const std::string& path) const;
  // The size that an image of h x w is resized to.
  std::pair<int64_t, int64_t> Resized(int64_t h, int64_t w) const;

  Resize resize_ = Resize::kNone;
  ResizeFilter filter_ = ResizeFilter::kBicubic;
  int64_t edge_ = 0;                // of kShortest and kLongest
  int64_t height_ = 0, width_ = 0;  // of kExact
  bool crop_ = false;
  int64_t crop_height_ = 0, crop_width_ = 0;
  bool torchvision_ = false;  // torchvision's rounding where a margin is odd, else transformers'
  double fill_ = 0;           // level around an image smaller than the crop
  double scale_ = 1;
  std::array<double, 3> mean_ = {0, 0, 0}, deviation_ = {1, 1, 1};
};

}  // namespace promptsweep::worker
