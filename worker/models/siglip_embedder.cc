// SigLIP, and SigLIP 2 at a fixed resolution, as an embedder, every size from config.json.
// Source: transformers 4.57 modeling_siglip.py, without mask: texts are padded to their full length and all of it is read.
#include <c10/core/InferenceMode.h>

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/models/architectures.h"
#include "worker/models/embedding_model.h"
#include "worker/models/transformer.h"
#include "worker/tensors/load_error.h"
#include "worker/text/siglip_tokenizer.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;

struct SiglipConfig {
  TransformerConfig text, vision;
  int64_t vocab = 0, length = 0, image_size = 0, patch = 0;

  explicit SiglipConfig(const JsonFile& json) {
    const JsonFile t = json.Child("text_config"), v = json.Child("vision_config");
    const TransformerConfig otherwise{768, 3072, 12, 12, "gelu_pytorch_tanh", 1e-6};
    text = ReadTransformerConfig(t, otherwise);
    vision = ReadTransformerConfig(v, otherwise);
    vocab = t.Int("vocab_size", 1, 1 << 24, 32000);
    length = t.Int("max_position_embeddings", 2, kMaxWidth, 64);
    image_size = v.Int("image_size", 1, 4096, 224);
    patch = v.Int("patch_size", 1, 4096, 16);
    v.Int("num_channels", 3, 3, 3);
    if (image_size < patch) {
      throw LoadError(absl::StrCat(v.path(), ": image_size ", image_size, " is below the patch_size ", patch));
    }
    if (!v.Bool("vision_use_head", true)) {
      throw LoadError(absl::StrCat(v.path(), ": vision_use_head is false; there is no embedding without the head"));
    }
    // Pictures and texts are compared, so both towers end in one width.
    if (const int64_t projection = t.Int("projection_size", 1, kMaxWidth, text.width); projection != vision.width) {
      throw LoadError(absl::StrCat(t.path(), ": texts come out with ", projection, " numbers and images with ", vision.width));
    }
  }
};

std::function<TransformerLayer(int64_t)> Layers(const TransformerConfig& c, const Weights& w) {
  return [=](int64_t i) { return TransformerLayer::HuggingFace(c, w / "encoder" / "layers" / i); };
}

// Attention pooling: one learnt query looks at every patch. What does not depend on the image is computed once.
class AttentionPooling {
 public:
  AttentionPooling(const TransformerConfig& c, const Weights& w)
      : heads_(c.heads),
        norm_(w / "layernorm", c.width, c.eps),
        out_(Linear(w / "attention" / "out_proj", c.width, c.width, true)),
        feed_forward_(c, Linear(w / "mlp" / "fc1", c.width, c.ffn, true), Linear(w / "mlp" / "fc2", c.ffn, c.width, true)) {
    Linear qkv;
    qkv.weight = (w / "attention").Get("in_proj_weight", {3 * c.width, c.width});
    qkv.bias = (w / "attention").Get("in_proj_bias", {3 * c.width});
    const auto weights = qkv.weight.split(c.width), biases = qkv.bias.split(c.width);
    const at::Tensor probe = w.Get("probe", {1, 1, c.width});
    query_ = Heads(at::linear(probe, weights[0], biases[0]));
    Linear kv;
    kv.weight = qkv.weight.narrow(0, c.width, 2 * c.width).contiguous();
    kv.bias = qkv.bias.narrow(0, c.width, 2 * c.width).contiguous();
    keys_values_ = PackedLinear(std::move(kv));
  }

  // [n, patches, width] -> [n, width].
  at::Tensor operator()(const at::Tensor& x) const {
    const auto kv = keys_values_(x).chunk(2, -1);
    const at::Tensor query = query_.expand({x.size(0), -1, -1, -1});
    const at::Tensor h = at::scaled_dot_product_attention(query, Heads(kv[0]), Heads(kv[1]));
    const at::Tensor pooled = out_(h.transpose(1, 2).reshape({x.size(0), x.size(2)}));
    return feed_forward_.AddTo(pooled, norm_(pooled));
  }

 private:
  at::Tensor Heads(const at::Tensor& x) const {
    return x.view({x.size(0), x.size(1), heads_, x.size(2) / heads_}).transpose(1, 2);
  }

  int64_t heads_;
  LayerNorm norm_;
  PackedLinear out_, keys_values_;
  FeedForward feed_forward_;
  at::Tensor query_;  // [1, heads, 1, width / heads]
};

class Siglip final : public EmbeddingModel {
 public:
  Siglip(const SiglipConfig& c, SiglipTokenizer tokenizer, const Weights& w)
      : Siglip(c, std::move(tokenizer), w, w / "text_model", w / "vision_model") {
    w.Ignore("logit_scale");
    w.Ignore("logit_bias");
    w.Finish();
  }
  int64_t dim() const override { return dim_; }
  at::Tensor Images(const at::Tensor& pixels) const override {
    return pooling_(image_norm_(image_layers_.All(patches_(pixels) + places_, /*causal=*/false)));
  }
  std::vector<int64_t> Tokens(absl::string_view text) const override { return tokenizer_.Row(text); }
  at::Tensor Texts(const at::Tensor& tokens) const override {
    const at::Tensor x = at::embedding(tokens_, tokens) + positions_;
    return text_head_(text_norm_(text_layers_.At(x, tokens.size(1) - 1, /*causal=*/false)));
  }

 private:
  Siglip(const SiglipConfig& c, SiglipTokenizer tokenizer, const Weights& w, const Weights& text, const Weights& vision)
      : dim_(c.vision.width),
        tokenizer_(std::move(tokenizer)),
        tokens_((text / "embeddings" / "token_embedding").Get("weight", {c.vocab, c.text.width})),
        positions_((text / "embeddings" / "position_embedding").Get("weight", {c.length, c.text.width})),
        text_layers_(c.text, Layers(c.text, text)),
        text_norm_(text / "final_layer_norm", c.text.width, c.text.eps),
        text_head_(text / "head", c.text.width, c.vision.width, true),
        patches_(vision / "embeddings" / "patch_embedding", c.vision.width, c.patch, true),
        places_((vision / "embeddings" / "position_embedding")
                    .Get("weight", {(c.image_size / c.patch) * (c.image_size / c.patch), c.vision.width})),
        image_layers_(c.vision, Layers(c.vision, vision)),
        image_norm_(vision / "post_layernorm", c.vision.width, c.vision.eps),
        pooling_(c.vision, vision / "head") {
    (text / "embeddings").Ignore("position_ids");
    (vision / "embeddings").Ignore("position_ids");
  }

  int64_t dim_;
  SiglipTokenizer tokenizer_;
  at::Tensor tokens_, positions_;
  Transformer text_layers_;
  LayerNorm text_norm_;
  Linear text_head_;
  PatchEmbedding patches_;
  at::Tensor places_;
  Transformer image_layers_;
  LayerNorm image_norm_;
  AttentionPooling pooling_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Embedder>> LoadSiglip(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const SiglipConfig config(JsonFile(folder.path + "/config.json"));
    const JsonFile images(folder.path + "/preprocessor_config.json");
    const auto preprocess = Preprocess::HuggingFace(images, Preprocess::Processor::kSiglip, config.image_size);
    WantSquare(preprocess, config.image_size, images.path());
    PS_ASSIGN_OR_RETURN(SiglipTokenizer tokenizer, SiglipTokenizer::Load(folder.path, config.length));
    WantVocabulary(tokenizer.size(), config.vocab, tokenizer.path());
    const Weights weights(WeightFiles(folder.path, "model"), {options.device, options.compute_dtype});
    return MakeEmbedder(folder, options, preprocess, std::make_unique<Siglip>(config, std::move(tokenizer), weights));
  });
}

}  // namespace promptsweep::worker
