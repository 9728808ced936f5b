#include "worker/models/clip.h"

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxEdge = 4096;

// The cursor of a tower; stand-alone checkpoints leave its prefix out.
Weights Tower(const Weights& w, const std::string& prefix, const std::string& probe) {
  return !(w / prefix).Has(probe) && w.Has(probe) ? w : w / prefix;
}
Weights TextTower(const Weights& w) { return Tower(w, "text_model", "embeddings.token_embedding.weight"); }
Weights VisionTower(const Weights& w) { return Tower(w, "vision_model", "embeddings.class_embedding"); }

void CheckPatches(const std::string& path, const ClipVisionConfig& c) {
  if (c.image_size % c.patch != 0) {
    throw LoadError(absl::StrCat(path, ": image_size ", c.image_size, " is not a multiple of patch_size ", c.patch));
  }
}

// open_clip's names of a layer: ln_1, attn.in_proj_weight, attn.out_proj, ln_2, mlp.c_fc, mlp.c_proj, ls_1.gamma, ls_2.gamma.
TransformerLayer OpenClipLayer(const TransformerConfig& c, bool layer_scale, const Weights& w) {
  const Weights a = w / "attn", m = w / "mlp";
  TransformerLayer layer{LayerNorm(w / "ln_1", c.width, c.eps),
                         LayerNorm(w / "ln_2", c.width, c.eps),
                         {},
                         Linear(a / "out_proj", c.width, c.width, true),
                         Linear(m / "c_fc", c.width, c.ffn, true),
                         Linear(m / "c_proj", c.ffn, c.width, true)};
  layer.qkv.weight = a.Get("in_proj_weight", {3 * c.width, c.width});
  layer.qkv.bias = a.Get("in_proj_bias", {3 * c.width});
  if (layer_scale) {
    layer.out = Scaled(std::move(layer.out), (w / "ls_1").Get("gamma", {c.width}));
    layer.fc2 = Scaled(std::move(layer.fc2), (w / "ls_2").Get("gamma", {c.width}));
  }
  return layer;
}

// `w` stands above the numbered layers.
std::function<TransformerLayer(int64_t)> Layers(const TransformerConfig& c, ClipLayout layout, bool layer_scale,
                                                const Weights& w) {
  return [=](int64_t i) {
    return layout == ClipLayout::kHuggingFace ? TransformerLayer::HuggingFace(c, w / i) : OpenClipLayer(c, layer_scale, w / i);
  };
}

// A projection that open_clip stores as a bare matrix [in, out].
Linear BareProjection(const Weights& w, const std::string& name, int64_t in, int64_t out) {
  Linear linear;
  linear.weight = w.Get(name, {in, out}).t().contiguous();
  return linear;
}

// Keys that change what a tower is. open_clip's defaults mean "not so".
void RefuseKeys(const JsonFile& json, const std::string& tower, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (!json.Has(key)) continue;
    const auto& value = json.value().at(key);
    if (value == false || (value.is_object() && value.empty())) continue;
    throw LoadError(absl::StrCat(json.path(), ": ", tower, ".", key, " asks for a tower that promptsweep does not have"));
  }
}

void WantText(const JsonFile& json, const std::string& tower, const std::string& key, const std::string& value) {
  if (const std::string found = json.Text(key, value); found != value) {
    throw LoadError(
        absl::StrCat(json.path(), ": ", tower, ".", key, " is \"", found.substr(0, 80), "\"; only \"", value, "\" is supported"));
  }
}

// What both towers of open_clip have.
void ReadOpenClipTower(const JsonFile& json, const std::string& tower, bool quick_gelu, TransformerConfig& c) {
  RefuseKeys(json, tower,
             {"block_type", "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc",
              "final_ln_after_pool", "act_kwargs", "norm_kwargs"});
  const double ratio = json.Number("mlp_ratio", 1e-3, 1e3, 4.0);
  c.ffn = static_cast<int64_t>(static_cast<double>(c.width) * ratio);
  c.layers = json.Int("layers", 1, 512, 12);
  c.activation = quick_gelu ? "quick_gelu" : "gelu";
  if (c.ffn < 1 || c.ffn > kMaxWidth) throw LoadError(absl::StrCat(json.path(), ": ", tower, ".mlp_ratio gives ", c.ffn));
  c.Check(json.path());
}

}  // namespace

ClipConfig ClipConfig::HuggingFace(const JsonFile& json) {
  const int64_t projection = json.Int("projection_dim", 1, kMaxWidth, 512);
  const JsonFile text = json.Child("text_config"), vision = json.Child("vision_config");
  ClipConfig c;
  static_cast<TransformerConfig&>(c.text) = ReadTransformerConfig(text, {512, 2048, 12, 8, "quick_gelu", 1e-5});
  c.text.vocab = text.Int("vocab_size", 1, 1 << 24, 49408);
  c.text.length = text.Int("max_position_embeddings", 2, kMaxWidth, 77);
  c.text.projection = projection;
  c.text.end_token = text.Int("eos_token_id", 0, 1 << 24, 49407);
  static_cast<TransformerConfig&>(c.vision) = ReadTransformerConfig(vision, {768, 3072, 12, 12, "quick_gelu", 1e-5});
  c.vision.image_size = vision.Int("image_size", 1, kMaxEdge, 224);
  c.vision.patch = vision.Int("patch_size", 1, kMaxEdge, 32);
  c.vision.projection = projection;
  vision.Int("num_channels", 3, 3, 3);
  CheckPatches(vision.path(), c.vision);
  return c;
}

ClipConfig ClipConfig::OpenClip(const JsonFile& json) {
  if (json.Bool("custom_text", false)) {
    throw LoadError(absl::StrCat(json.path(), ": model_cfg.custom_text asks for a text tower that promptsweep does not have"));
  }
  RefuseKeys(json, "model_cfg", {"multimodal_cfg", "audio_cfg", "nonscalar_logit_scale"});
  const bool quick = json.Bool("quick_gelu", false);
  const JsonFile text = json.Child("text_cfg"), vision = json.Child("vision_cfg");
  const int64_t projection = json.Int("embed_dim", 1, kMaxWidth);
  ClipConfig c;
  RefuseKeys(
      text, "text_cfg",
      {"hf_model_name", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "embed_cls", "no_causal_mask", "proj_bias"});
  WantText(text, "text_cfg", "pool_type", "argmax");
  WantText(text, "text_cfg", "proj_type", "linear");
  c.text.width = text.Int("width", 1, kMaxWidth, 512);
  c.text.heads = text.Int("heads", 1, kMaxWidth, 8);
  c.text.layer_scale = text.Has("ls_init_value");
  ReadOpenClipTower(text, "text_cfg", quick, c.text);
  c.text.vocab = text.Int("vocab_size", 1, 1 << 24, 49408);
  c.text.length = text.Int("context_length", 2, kMaxWidth, 77);
  c.text.projection = projection;
  RefuseKeys(vision, "vision_cfg", {"timm_model_name", "attentional_pool", "no_ln_pre"});
  WantText(vision, "vision_cfg", "pool_type", "tok");
  WantText(vision, "vision_cfg", "pos_embed_type", "learnable");
  c.vision.width = vision.Int("width", 1, kMaxWidth, 768);
  const int64_t head = vision.Int("head_width", 1, kMaxWidth, 64);
  c.vision.heads = c.vision.width / head;  // as open_clip counts them
  if (c.vision.heads < 1) throw LoadError(absl::StrCat(json.path(), ": vision_cfg.head_width ", head, " is above the width"));
  c.vision.layer_scale = vision.Has("ls_init_value");
  ReadOpenClipTower(vision, "vision_cfg", quick, c.vision);
  if (vision.Has("image_size") && vision.value().at("image_size").is_array()) {
    const auto sides = vision.Ints("image_size", 1, kMaxEdge);
    if (sides.size() != 2 || sides[0] != sides[1]) {
      throw LoadError(absl::StrCat(json.path(), ": vision_cfg.image_size is not a square"));
    }
    c.vision.image_size = sides[0];
  } else {
    c.vision.image_size = vision.Int("image_size", 1, kMaxEdge, 224);
  }
  c.vision.patch = vision.Int("patch_size", 1, kMaxEdge, 16);
  c.vision.projection = projection;
  CheckPatches(json.path(), c.vision);
  return c;
}

ClipText::ClipText(const ClipTextConfig& c, ClipLayout layout, const Weights& w)
    : config_(c),
      transformer_(c, layout == ClipLayout::kHuggingFace ? Layers(c, layout, false, TextTower(w) / "encoder" / "layers")
                                                         : Layers(c, layout, c.layer_scale, w / "transformer" / "resblocks")) {
  if (layout == ClipLayout::kHuggingFace) {
    const Weights tower = TextTower(w), embeddings = tower / "embeddings";
    tokens_ = (embeddings / "token_embedding").Get("weight", {c.vocab, c.width});
    positions_ = (embeddings / "position_embedding").Get("weight", {c.length, c.width});
    embeddings.Ignore("position_ids");
    final_ = LayerNorm(tower / "final_layer_norm", c.width, c.eps);
    projection_ = Linear(w / "text_projection", c.width, c.projection, false);
  } else {
    tokens_ = (w / "token_embedding").Get("weight", {c.vocab, c.width});
    positions_ = w.Get("positional_embedding", {c.length, c.width});
    final_ = LayerNorm(w / "ln_final", c.width, c.eps);
    projection_ = BareProjection(w, "text_projection", c.width, c.projection);
    w.Ignore("attn_mask");
  }
}

at::Tensor ClipText::Embed(const at::Tensor& tokens) const {
  const at::Tensor end =
      config_.end_token == kLegacyEndToken ? tokens.argmax(1) : tokens.eq(config_.end_token).to(at::kInt).argmax(1);
  const at::Tensor x = at::embedding(tokens_, tokens) + positions_.narrow(0, 0, tokens.size(1));
  return projection_(final_(transformer_.At(x, end, /*causal=*/true)));
}

ClipVision::ClipVision(const ClipVisionConfig& c, ClipLayout layout, const Weights& w)
    : transformer_(c, layout == ClipLayout::kHuggingFace
                          ? Layers(c, layout, false, VisionTower(w) / "encoder" / "layers")
                          : Layers(c, layout, c.layer_scale, w / "visual" / "transformer" / "resblocks")) {
  const int64_t side = c.image_size / c.patch, rows = side * side + 1;
  if (layout == ClipLayout::kHuggingFace) {
    const Weights tower = VisionTower(w), embeddings = tower / "embeddings";
    class_ = embeddings.Get("class_embedding", {c.width});
    patches_ = PatchEmbedding(embeddings / "patch_embedding", c.width, c.patch, false);
    positions_ = (embeddings / "position_embedding").Get("weight", {rows, c.width});
    embeddings.Ignore("position_ids");
    before_ = LayerNorm(tower / "pre_layrnorm", c.width, c.eps);  // sic
    after_ = LayerNorm(tower / "post_layernorm", c.width, c.eps);
    projection_ = Linear(w / "visual_projection", c.width, c.projection, false);
  } else {
    const Weights tower = w / "visual";
    class_ = tower.Get("class_embedding", {c.width});
    patches_ = PatchEmbedding(tower / "conv1", c.width, c.patch, false);
    positions_ = tower.Get("positional_embedding", {rows, c.width});
    before_ = LayerNorm(tower / "ln_pre", c.width, c.eps);
    after_ = LayerNorm(tower / "ln_post", c.width, c.eps);
    projection_ = BareProjection(tower, "proj", c.width, c.projection);
  }
}

at::Tensor ClipVision::Embed(const at::Tensor& pixels) const {
  const at::Tensor x = before_(WithFirstRow(class_, patches_(pixels), positions_));
  return projection_(after_(transformer_.At(x, 0, /*causal=*/false)));
}

}  // namespace promptsweep::worker
