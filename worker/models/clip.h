// CLIP's two towers, every size from the model's JSON, in either layout that checkpoints come in.
// Sources: transformers 4.57 modeling_clip.py; open_clip 3.3 model.py and transformer.py.
#pragma once

#include <ATen/ATen.h>

#include "worker/models/transformer.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/weights.h"

namespace promptsweep::worker {

// What configurations older than the fix of the pooling rule say, whatever their end token is.
inline constexpr int64_t kLegacyEndToken = 2;

struct ClipTextConfig : TransformerConfig {
  int64_t vocab = 0, length = 0, projection = 0;
  // kLegacyEndToken: pool at the largest id. Else pool at the first such id.
  int64_t end_token = kLegacyEndToken;
  bool layer_scale = false;  // open_clip alone
};

struct ClipVisionConfig : TransformerConfig {
  int64_t image_size = 0, patch = 0, projection = 0;
  bool layer_scale = false;  // open_clip alone
};

struct ClipConfig {
  ClipTextConfig text;
  ClipVisionConfig vision;

  // config.json. Keys that a published configuration leaves out have Hugging Face's defaults. Throws LoadError.
  static ClipConfig HuggingFace(const JsonFile& json);
  // "model_cfg" of open_clip_config.json. Throws LoadError, naming the key, for what is not this transformer: towers of timm or
  // Hugging Face, ResNets, other poolings, "custom_text".
  static ClipConfig OpenClip(const JsonFile& json);
};

enum class ClipLayout { kHuggingFace, kOpenClip };

// Immutable; thread-safe. Constructors throw LoadError.
class ClipText {
 public:
  // Hugging Face: text_model.* (or the same without that prefix) and text_projection. open_clip: the names that are not visual.*.
  ClipText(const ClipTextConfig& config, ClipLayout layout, const Weights& w);
  // int64 [n, length] -> [n, projection], not normalised.
  at::Tensor Embed(const at::Tensor& tokens) const;

 private:
  ClipTextConfig config_;
  at::Tensor tokens_, positions_;
  Transformer transformer_;
  LayerNorm final_;
  Linear projection_;
};

class ClipVision {
 public:
  // Hugging Face: vision_model.* (or the same without that prefix) and visual_projection. open_clip: visual.*.
  ClipVision(const ClipVisionConfig& config, ClipLayout layout, const Weights& w);
  // Normalised pixels [n, 3, image_size, image_size] -> [n, projection], not normalised.
  at::Tensor Embed(const at::Tensor& pixels) const;

 private:
  at::Tensor class_;  // [width]
  PatchEmbedding patches_;
  at::Tensor positions_;  // [1 + patches, width]
  LayerNorm before_;
  Transformer transformer_;
  LayerNorm after_;
  Linear projection_;
};

}  // namespace promptsweep::worker
