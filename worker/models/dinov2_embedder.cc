// DINOv2, with or without register tokens, as an embedder, every size from config.json. The vector is the class token's row after
// the last norm (pooler_output). There is no text tower.
// Sources: transformers 4.57 modeling_dinov2.py and modeling_dinov2_with_registers.py.
#include <c10/core/InferenceMode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/models/architectures.h"
#include "worker/models/embedding_model.h"
#include "worker/models/transformer.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

struct Dinov2Config : TransformerConfig {
  int64_t image_size = 0, patch = 0, registers = 0;
  bool qkv_bias = true, antialias = false;

  explicit Dinov2Config(const JsonFile& json) {
    constexpr int64_t kMaxWidth = 1 << 16;
    constexpr double kMaxRatio = 1000;
    TransformerConfig otherwise{768, 1, 12, 12, "gelu", 1e-6};
    static_cast<TransformerConfig&>(*this) = ReadTransformerConfig(json, otherwise);
    const double ratio = json.Number("mlp_ratio", 1e-3, kMaxRatio, 4.0);
    ffn = static_cast<int64_t>(static_cast<double>(width) * ratio);
    if (json.Bool("use_swiglu_ffn", false)) {
      activation = "swiglu";
      ffn = (static_cast<int64_t>(static_cast<double>(ffn * 2) / 3) + 7) / 8 * 8;
    }
    if (ffn < 1 || ffn > kMaxWidth * 4) throw LoadError(absl::StrCat(json.path(), ": mlp_ratio gives a width of ", ffn));
    image_size = json.Int("image_size", 1, 4096, 224);
    patch = json.Int("patch_size", 1, 4096, 14);
    qkv_bias = json.Bool("qkv_bias", true);
    json.Int("num_channels", 3, 3, 3);
    if (json.Text("model_type", "dinov2") == "dinov2_with_registers") {
      registers = json.Int("num_register_tokens", 0, 4096, 4);
      antialias = true;
    }
    if (image_size < patch) {
      throw LoadError(absl::StrCat(json.path(), ": image_size ", image_size, " is below the patch_size ", patch));
    }
  }
};

TransformerLayer Layer(const Dinov2Config& c, const Weights& w) {
  const Weights a = w / "attention" / "attention", m = w / "mlp";
  const bool glu = c.activation == "swiglu";
  TransformerLayer layer{
      LayerNorm(w / "norm1", c.width, c.eps),
      LayerNorm(w / "norm2", c.width, c.eps),
      Linear::Fused({Linear(a / "query", c.width, c.width, c.qkv_bias), Linear(a / "key", c.width, c.width, c.qkv_bias),
                     Linear(a / "value", c.width, c.width, c.qkv_bias)}),
      Linear(w / "attention" / "output" / "dense", c.width, c.width, true),
      glu ? Linear(m / "weights_in", c.width, 2 * c.ffn, true) : Linear(m / "fc1", c.width, c.ffn, true),
      glu ? Linear(m / "weights_out", c.ffn, c.width, true) : Linear(m / "fc2", c.ffn, c.width, true)};
  layer.out = Scaled(std::move(layer.out), (w / "layer_scale1").Get("lambda1", {c.width}));
  layer.fc2 = Scaled(std::move(layer.fc2), (w / "layer_scale2").Get("lambda1", {c.width}));
  return layer;
}

// Checkpoints of classifiers hold the model under its name.
Weights Root(const Weights& w) {
  for (const char* prefix : {"dinov2", "dinov2_with_registers"}) {
    if ((w / prefix).Has("embeddings.cls_token")) return w / prefix;
  }
  return w;
}

class Dinov2 final : public EmbeddingModel {
 public:
  Dinov2(const Dinov2Config& c, const Weights& all) : Dinov2(c, all, Root(all)) {}
  int64_t dim() const override { return config_.width; }
  at::Tensor Images(const at::Tensor& pixels) const override {
    if (pixels.size(2) < config_.patch || pixels.size(3) < config_.patch) {
      throw LoadError(absl::StrCat("an image of ", pixels.size(3), "x", pixels.size(2), " has no patch of ", config_.patch));
    }
    at::Tensor x = WithFirstRow(class_, patches_(pixels), Positions(pixels.size(2), pixels.size(3)));
    if (config_.registers > 0) {
      x = at::cat({x.narrow(1, 0, 1), registers_.expand({x.size(0), -1, -1}), x.narrow(1, 1, x.size(1) - 1)}, 1);
    }
    return norm_(transformer_.At(x, 0, /*causal=*/false));
  }

 private:
  Dinov2(const Dinov2Config& c, const Weights& all, const Weights& w)
      : config_(c),
        transformer_(c, [&](int64_t i) { return Layer(c, w / "encoder" / "layer" / i); }),
        norm_(w / "layernorm", c.width, c.eps) {
    const Weights e = w / "embeddings";
    const int64_t side = c.image_size / c.patch;
    class_ = e.Get("cls_token", {1, 1, c.width}).view({c.width});
    patches_ = PatchEmbedding(e / "patch_embeddings" / "projection", c.width, c.patch, true);
    positions_ = e.Get("position_embeddings", {1, side * side + 1, c.width}).squeeze(0);
    if (c.registers > 0) registers_ = e.Get("register_tokens", {1, c.registers, c.width});
    e.Ignore("mask_token");
    e.Ignore("register_tokens");
    all.Ignore("classifier.weight");
    all.Ignore("classifier.bias");
    all.Finish();
  }

  // The table for images of h x w: [1 + patches, width]. Of another size than image_size it is interpolated in float32, with
  // antialiasing only in the model with registers, as the two references do.
  at::Tensor Positions(int64_t h, int64_t w) const {
    const int64_t rows = h / config_.patch, columns = w / config_.patch, side = config_.image_size / config_.patch;
    if (rows * columns == side * side && h == w) return positions_;
    const at::Tensor grid =
        positions_.narrow(0, 1, side * side).view({1, side, side, config_.width}).permute({0, 3, 1, 2}).to(at::kFloat);
    const at::Tensor scaled = config_.antialias ? at::_upsample_bicubic2d_aa(grid, {rows, columns}, /*align_corners=*/false)
                                                : at::upsample_bicubic2d(grid, {rows, columns}, /*align_corners=*/false);
    return at::cat({positions_.narrow(0, 0, 1),
                    scaled.to(positions_.scalar_type()).permute({0, 2, 3, 1}).reshape({rows * columns, config_.width})});
  }

  Dinov2Config config_;
  at::Tensor class_;  // [width]
  PatchEmbedding patches_;
  at::Tensor positions_;  // [1 + patches, width]
  at::Tensor registers_;  // [1, registers, width]
  Transformer transformer_;
  LayerNorm norm_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Embedder>> LoadDinov2(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const Dinov2Config config(JsonFile(folder.path + "/config.json"));
    const JsonFile images(folder.path + "/preprocessor_config.json");
    constexpr int64_t kSide = 224;  // BitImageProcessor's own default; the model takes other sizes than its image_size
    const auto preprocess = Preprocess::HuggingFace(images, Preprocess::Processor::kBit, kSide);
    if (const auto size = preprocess.size(); size && (size->first < config.patch || size->second < config.patch)) {
      throw LoadError(absl::StrCat(images.path(), ": images come out smaller than a patch of ", config.patch));
    }
    const Weights weights(WeightFiles(folder.path, "model"), {options.device, options.compute_dtype});
    return MakeEmbedder(folder, options, preprocess, std::make_unique<Dinov2>(config, weights));
  });
}

}  // namespace promptsweep::worker
