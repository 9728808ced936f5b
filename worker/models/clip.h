// CLIP's two towers in Hugging Face's layout, every size from config.json.
// Source: transformers 4.57 modeling_clip.py.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "worker/models/layers.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/weights.h"

namespace promptsweep::worker {

// One tower's transformer. Keys that a published configuration leaves out have Hugging Face's defaults.
struct ClipTowerConfig {
  int64_t width = 0, ffn = 0, layers = 0, heads = 0;
  std::string activation;
  double eps = 1e-5;
  ClipTowerConfig() = default;
  // `text` chooses the defaults. Throws LoadError.
  ClipTowerConfig(const JsonFile& json, bool text);
};

// What configurations older than the fix of the pooling rule say, whatever their end token is.
inline constexpr int64_t kLegacyEndToken = 2;

struct ClipTextConfig : ClipTowerConfig {
  int64_t vocab = 0, length = 0, projection = 0;
  // kLegacyEndToken: pool at the largest id. Else pool at the first such id.
  int64_t end_token = 0;
  ClipTextConfig() = default;
  ClipTextConfig(const JsonFile& text, int64_t projection);
};

struct ClipVisionConfig : ClipTowerConfig {
  int64_t image_size = 0, patch = 0, projection = 0;
  ClipVisionConfig() = default;
  ClipVisionConfig(const JsonFile& vision, int64_t projection);
};

// Pre-norm transformer layers. Immutable; thread-safe.
class ClipTransformer {
 public:
  ClipTransformer(const ClipTowerConfig& config, const Weights& w);
  // [n, length, width] -> the same.
  at::Tensor Forward(at::Tensor x, bool causal) const;

 private:
  struct Layer {
    LayerNorm norm1, norm2;
    Linear qkv, out, fc1, fc2;
  };
  int64_t heads_;
  Activation activation_;
  std::vector<Layer> layers_;
};

// Immutable; thread-safe. Constructors throw LoadError.
class ClipText {
 public:
  // Takes text_model.* (or the same without that prefix) and text_projection.
  ClipText(const ClipTextConfig& config, const Weights& w);
  // int64 [n, length] -> [n, projection], not normalised.
  at::Tensor Embed(const at::Tensor& tokens) const;

 private:
  ClipTextConfig config_;
  at::Tensor tokens_, positions_;
  ClipTransformer transformer_;
  LayerNorm final_;
  Linear projection_;
};

class ClipVision {
 public:
  // Takes vision_model.* (or the same without that prefix) and visual_projection.
  ClipVision(const ClipVisionConfig& config, const Weights& w);
  // Normalised pixels [n, 3, image_size, image_size] -> [n, projection], not normalised.
  at::Tensor Embed(const at::Tensor& pixels) const;

 private:
  ClipVisionConfig config_;
  at::Tensor class_;    // [width]
  at::Tensor patches_;  // [width, 3 * patch * patch]
  at::Tensor positions_;
  LayerNorm before_;
  ClipTransformer transformer_;
  LayerNorm after_;
  Linear projection_;
};

}  // namespace promptsweep::worker
