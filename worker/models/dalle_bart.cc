#include "worker/models/dalle_bart.h"

#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "worker/tensors/elementwise.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxLayers = 512;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxLength = 1 << 16;
constexpr double kEps = 1e-5;
constexpr double kMasked = -1e12;

// These were trained without a scale in the published weights; only their bias is stored.
constexpr bool kScaleOptional = true;

// [n, length, width] -> [n, heads, length, width / heads].
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

// Inverse of SplitHeads.
at::Tensor JoinHeads(const at::Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), -1}); }

}  // namespace

DalleConfig::DalleConfig(const JsonFile& json)
    : width(json.Int("d_model", 1, kMaxWidth)),
      encoder_layers(json.Int("encoder_layers", 1, kMaxLayers)),
      encoder_heads(json.Int("encoder_attention_heads", 1, kMaxWidth)),
      encoder_ffn(json.Int("encoder_ffn_dim", 1, kMaxWidth)),
      decoder_layers(json.Int("decoder_layers", 1, kMaxLayers)),
      decoder_heads(json.Int("decoder_attention_heads", 1, kMaxWidth)),
      decoder_ffn(json.Int("decoder_ffn_dim", 1, kMaxWidth)),
      text_vocab(json.Int("encoder_vocab_size", 1, kMaxVocab)),
      text_length(json.Int("max_text_length", 2, kMaxLength)),
      image_vocab(json.Int("image_vocab_size", 1, kMaxVocab)),
      image_length(json.Int("image_length", 1, kMaxLength)),
      start_token(json.Int("decoder_start_token_id", 0, image_vocab)),
      normalize_text(json.Bool("normalize_text", false)) {
  for (const int64_t heads : {encoder_heads, decoder_heads}) {
    if (width % heads != 0)
      throw LoadError(absl::StrCat(json.path(), ": d_model ", width, " does not divide into ", heads, " heads"));
  }
  for (const char* off : {"use_bias", "use_scale", "use_head_scale", "use_cosine_attention", "use_deepnet_scaling",
                          "use_swin_position_embeddings", "use_alibi", "scale_embedding"}) {
    if (json.Bool(off, false)) throw LoadError(absl::StrCat(json.path(), ": ", off, " is not supported"));
  }
  for (const char* on : {"use_glu", "use_final_ln_encoder", "use_final_ln_decoder"}) {
    if (!json.Bool(on, true)) throw LoadError(absl::StrCat(json.path(), ": ", on, " false is not supported"));
  }
  if (json.Text("ln_positions", "normformer") != "normformer" || json.Text("ln_type", "layernorm") != "layernorm" ||
      json.Text("activation_function", "gelu") != "gelu") {
    throw LoadError(absl::StrCat(json.path(),
                                 ": only ln_positions normformer, ln_type layernorm and activation_function gelu are supported"));
  }
}

at::Tensor TextBias(const at::Tensor& read, at::ScalarType dtype) {
  // fp16 cannot hold -1e12; its lowest number masks as well.
  const double masked = dtype == at::kHalf ? -65504.0 : kMasked;
  return read.logical_not().to(dtype).mul_(masked).view({read.size(0), 1, 1, read.size(1)});
}

namespace dalle {

Attention::Attention(const Weights& w, int64_t width, bool cross) {
  const Linear q(w / "q_proj", width, width, false), k(w / "k_proj", width, width, false), v(w / "v_proj", width, width, false);
  if (cross) {
    query = RowLinear(q);
    fused = RowLinear(Linear::Fused({k, v}));
  } else {
    fused = RowLinear(Linear::Fused({q, k, v}));
  }
  out = RowLinear(Linear(w / "out_proj", width, width, false));
}

Glu::Glu(const Weights& w, int64_t width, int64_t ffn)
    : before(w / "ln0", width, kEps, kScaleOptional),
      between(w / "ln1", ffn, kEps, kScaleOptional),
      in(Linear::Fused({Linear(w / "fc0", width, ffn, false), Linear(w / "fc1", width, ffn, false)})),
      out(Linear(w / "fc2", ffn, width, false)) {}

at::Tensor Glu::operator()(const at::Tensor& x) const { return out(between(GatedGelu(in(before(x))))); }

Embedding::Embedding(const Weights& w, int64_t vocab, int64_t length, int64_t width)
    : tokens((w / "embed_tokens").Get("weight", {vocab, width})),
      positions((w / "embed_positions").Get("weight", {length, width})),
      norm(w / "layernorm_embedding", width, kEps) {}

Layer::Layer(const Weights& w, int64_t width, int64_t ffn, bool decoder)
    : before_self(w / "pre_self_attn_layer_norm", width, kEps, kScaleOptional),
      after_self(w / "self_attn_layer_norm", width, kEps),
      self(w / "self_attn", width, /*cross=*/false),
      glu(w / "glu", width, ffn) {
  if (!decoder) return;
  before_cross = LayerNorm(w / "pre_encoder_attn_layer_norm", width, kEps, kScaleOptional);
  after_cross = LayerNorm(w / "encoder_attn_layer_norm", width, kEps);
  cross = Attention(w / "encoder_attn", width, /*cross=*/true);
}

}  // namespace dalle

DalleEncoder::DalleEncoder(const DalleConfig& config, const Weights& w)
    : config_(config), embedding_(w, config.text_vocab, config.text_length, config.width) {
  for (int64_t i = 0; i < config.encoder_layers; ++i)
    layers_.emplace_back(w / "layers" / i, config.width, config.encoder_ffn, false);
  final_ = LayerNorm(w / "final_ln", config.width, kEps, kScaleOptional);
}

at::Tensor DalleEncoder::Encode(const at::Tensor& tokens, const at::Tensor& bias) const {
  at::Tensor x = embedding_.norm(at::embedding(embedding_.tokens, tokens) + embedding_.positions);
  for (const auto& layer : layers_) {
    const auto parts = layer.self.fused(layer.before_self(x)).chunk(3, -1);
    const at::Tensor h =
        at::scaled_dot_product_attention(SplitHeads(parts[0], config_.encoder_heads), SplitHeads(parts[1], config_.encoder_heads),
                                         SplitHeads(parts[2], config_.encoder_heads), bias);
    x = x + layer.after_self(layer.self.out(JoinHeads(h)));
    x = x + layer.glu(x);
  }
  return final_(x);
}

DalleDecoder::DalleDecoder(const DalleConfig& config, const Weights& w)
    : config_(config), embedding_(w, config.image_vocab + 1, config.image_length, config.width) {
  for (int64_t i = 0; i < config.decoder_layers; ++i)
    layers_.emplace_back(w / "layers" / i, config.width, config.decoder_ffn, true);
  final_ = LayerNorm(w / "final_ln", config.width, kEps, kScaleOptional);
  head_ = RowLinear(Linear(w / "lm_head", config.width, config.image_vocab + 1, false));
}

at::Tensor DalleDecoder::CrossKeysValues(const at::Tensor& encoded) const {
  const int64_t n = encoded.size(0), heads = config_.decoder_heads;
  std::vector<at::Tensor> layers;
  for (const auto& layer : layers_) {
    layers.push_back(layer.cross.fused(encoded)
                         .view({n, config_.text_length, 2, heads, config_.width / heads})
                         .permute({2, 0, 3, 1, 4})
                         .contiguous());
  }
  return at::stack(layers);
}

DecoderState DalleDecoder::Begin(int64_t rows) const {
  DecoderState state;
  const auto options = embedding_.tokens.options();
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (auto* cache : {&state.keys, &state.values}) {
      cache->push_back(
          at::empty({rows, config_.decoder_heads, config_.image_length, config_.width / config_.decoder_heads}, options));
    }
  }
  return state;
}

at::Tensor DalleDecoder::Step(DecoderState& state, const at::Tensor& tokens) const {
  const at::Tensor x = at::embedding(embedding_.tokens, tokens) + embedding_.positions[state.position];
  const at::Tensor logits = Layers(state, x, {.length = state.position + 1});
  ++state.position;
  return logits;
}

at::Tensor DalleDecoder::StepAt(DecoderState& state, const at::Tensor& tokens, const at::Tensor& position, int64_t reach) const {
  const at::Tensor x = at::embedding(embedding_.tokens, tokens) + at::embedding(embedding_.positions, position);
  const at::Tensor mask =
      at::zeros({reach}, x.options())
          .masked_fill_(at::arange(reach, position.options()) > position, -std::numeric_limits<double>::infinity());
  return Layers(state, x, {.length = reach, .place = position, .mask = mask});
}

at::Tensor DalleDecoder::Layers(DecoderState& state, at::Tensor x, const Past& past) const {
  const int64_t rows = x.size(0), heads = config_.decoder_heads, head_dim = config_.width / heads;
  const auto remember = [&](at::Tensor& all, const at::Tensor& now) {
    if (past.place.defined()) {
      all.index_copy_(2, past.place, now.unsqueeze(2));
    } else {
      all.select(2, past.length - 1).copy_(now);
    }
  };
  x = embedding_.norm(x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    const auto qkv = layer.self.fused(layer.before_self(x)).view({rows, 3, heads, head_dim}).unbind(1);
    remember(state.keys[i], qkv[1]);
    remember(state.values[i], qkv[2]);
    const std::optional<at::Tensor> mask =
        past.mask.defined() ? std::optional(past.mask.expand({rows, heads, 1, past.length})) : std::nullopt;
    at::Tensor h = at::scaled_dot_product_attention(qkv[0].unsqueeze(2), state.keys[i].narrow(2, 0, past.length),
                                                    state.values[i].narrow(2, 0, past.length), mask);
    x = x + layer.after_self(layer.self.out(h.reshape({rows, config_.width})));

    const at::Tensor query = layer.cross.query(layer.before_cross(x)).view({rows, heads, 1, head_dim});
    std::vector<at::Tensor> read;
    for (const auto& part : state.cross) {
      const int64_t n = part.end - part.begin;
      const auto all = [n](const at::Tensor& shared) { return shared.expand({n, -1, -1, -1}); };
      read.push_back(
          at::scaled_dot_product_attention(query.narrow(0, part.begin, n), all(part.keys[i]), all(part.values[i]), all(part.bias))
              .reshape({n, config_.width}));
    }
    x = x + layer.after_cross(layer.cross.out(read.size() == 1 ? read[0] : at::cat(read)));
    x = x + layer.glu(x);
  }
  return head_(final_(x)).to(at::kFloat);
}

}  // namespace promptsweep::worker
