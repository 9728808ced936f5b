#include "worker/models/clip.h"

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;

// The cursor of a tower; stand-alone checkpoints leave its prefix out.
Weights Tower(const Weights& w, const std::string& prefix, const std::string& probe) {
  return !(w / prefix).Has(probe) && w.Has(probe) ? w : w / prefix;
}
constexpr char kTextProbe[] = "embeddings.token_embedding.weight";
constexpr char kVisionProbe[] = "embeddings.class_embedding";

}  // namespace

ClipTowerConfig::ClipTowerConfig(const JsonFile& json, bool text)
    : width(json.Int("hidden_size", 1, kMaxWidth, text ? 512 : 768)),
      ffn(json.Int("intermediate_size", 1, kMaxWidth, text ? 2048 : 3072)),
      layers(json.Int("num_hidden_layers", 1, 512, 12)),
      heads(json.Int("num_attention_heads", 1, kMaxWidth, text ? 8 : 12)),
      activation(json.Text("hidden_act", "quick_gelu")),
      eps(json.Number("layer_norm_eps", 0, 1, 1e-5)) {
  if (width % heads != 0)
    throw LoadError(absl::StrCat(json.path(), ": hidden_size ", width, " does not divide into ", heads, " heads"));
  try {
    (void)Activation(activation);
  } catch (const LoadError& error) {
    throw LoadError(absl::StrCat(json.path(), ": hidden_act: ", error.what()));
  }
}

ClipTextConfig::ClipTextConfig(const JsonFile& text, int64_t projection)
    : ClipTowerConfig(text, true),
      vocab(text.Int("vocab_size", 1, 1 << 24, 49408)),
      length(text.Int("max_position_embeddings", 2, kMaxWidth, 77)),
      projection(projection),
      end_token(text.Int("eos_token_id", 0, 1 << 24, 49407)) {}

ClipVisionConfig::ClipVisionConfig(const JsonFile& vision, int64_t projection)
    : ClipTowerConfig(vision, false),
      image_size(vision.Int("image_size", 1, 4096, 224)),
      patch(vision.Int("patch_size", 1, 4096, 32)),
      projection(projection) {
  if (image_size % patch != 0) {
    throw LoadError(absl::StrCat(vision.path(), ": image_size ", image_size, " is not a multiple of patch_size ", patch));
  }
  vision.Int("num_channels", 3, 3, 3);
}

ClipTransformer::ClipTransformer(const ClipTowerConfig& c, const Weights& w) : heads_(c.heads), activation_(c.activation) {
  for (int64_t i = 0; i < c.layers; ++i) {
    const Weights l = w / "layers" / i, a = l / "self_attn", m = l / "mlp";
    layers_.push_back({LayerNorm(l / "layer_norm1", c.width, c.eps), LayerNorm(l / "layer_norm2", c.width, c.eps),
                       Linear::Fused({Linear(a / "q_proj", c.width, c.width, true), Linear(a / "k_proj", c.width, c.width, true),
                                      Linear(a / "v_proj", c.width, c.width, true)}),
                       Linear(a / "out_proj", c.width, c.width, true), Linear(m / "fc1", c.width, c.ffn, true),
                       Linear(m / "fc2", c.ffn, c.width, true)});
  }
}

at::Tensor ClipTransformer::Forward(at::Tensor x, bool causal) const {
  const int64_t n = x.size(0), length = x.size(1), width = x.size(2);
  for (const auto& layer : layers_) {
    const auto qkv = layer.qkv(layer.norm1(x)).view({n, length, 3, heads_, width / heads_}).permute({2, 0, 3, 1, 4}).unbind(0);
    const at::Tensor h = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], std::nullopt, 0.0, causal);
    x = x + layer.out(h.transpose(1, 2).reshape({n, length, width}));
    x = x + layer.fc2(activation_(layer.fc1(layer.norm2(x))));
  }
  return x;
}

ClipText::ClipText(const ClipTextConfig& c, const Weights& w)
    : config_(c),
      tokens_((Tower(w, "text_model", kTextProbe) / "embeddings" / "token_embedding").Get("weight", {c.vocab, c.width})),
      positions_((Tower(w, "text_model", kTextProbe) / "embeddings" / "position_embedding").Get("weight", {c.length, c.width})),
      transformer_(c, Tower(w, "text_model", kTextProbe) / "encoder"),
      final_(Tower(w, "text_model", kTextProbe) / "final_layer_norm", c.width, c.eps),
      projection_(w / "text_projection", c.width, c.projection, false) {
  (Tower(w, "text_model", kTextProbe) / "embeddings").Ignore("position_ids");
}

at::Tensor ClipText::Embed(const at::Tensor& tokens) const {
  const at::Tensor x =
      final_(transformer_.Forward(at::embedding(tokens_, tokens) + positions_.narrow(0, 0, tokens.size(1)), /*causal=*/true));
  const at::Tensor end =
      config_.end_token == kLegacyEndToken ? tokens.argmax(1) : tokens.eq(config_.end_token).to(at::kInt).argmax(1);
  const at::Tensor pooled = x.gather(1, end.view({-1, 1, 1}).expand({-1, 1, x.size(2)})).squeeze(1);
  return projection_(pooled);
}

ClipVision::ClipVision(const ClipVisionConfig& c, const Weights& w)
    : config_(c),
      class_((Tower(w, "vision_model", kVisionProbe) / "embeddings").Get("class_embedding", {c.width})),
      patches_((Tower(w, "vision_model", kVisionProbe) / "embeddings" / "patch_embedding")
                   .Get("weight", {c.width, 3, c.patch, c.patch})
                   .view({c.width, -1})),
      positions_((Tower(w, "vision_model", kVisionProbe) / "embeddings" / "position_embedding")
                     .Get("weight", {(c.image_size / c.patch) * (c.image_size / c.patch) + 1, c.width})),
      before_(Tower(w, "vision_model", kVisionProbe) / "pre_layrnorm", c.width, c.eps),  // sic
      transformer_(c, Tower(w, "vision_model", kVisionProbe) / "encoder"),
      after_(Tower(w, "vision_model", kVisionProbe) / "post_layernorm", c.width, c.eps),
      projection_(w / "visual_projection", c.width, c.projection, false) {
  (Tower(w, "vision_model", kVisionProbe) / "embeddings").Ignore("position_ids");
}

at::Tensor ClipVision::Embed(const at::Tensor& pixels) const {
  const int64_t n = pixels.size(0), p = config_.patch, side = config_.image_size / p;
  // The patch convolution as one product.
  const at::Tensor patches = at::linear(
      pixels.view({n, 3, side, p, side, p}).permute({0, 2, 4, 1, 3, 5}).reshape({n, side * side, 3 * p * p}), patches_);
  const at::Tensor x = at::cat({class_.expand({n, 1, -1}), patches}, 1) + positions_;
  return projection_(after_(transformer_.Forward(before_(x), /*causal=*/false).select(1, 0)));
}

}  // namespace promptsweep::worker
