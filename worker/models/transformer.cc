#include "worker/models/transformer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxLayers = 512;
constexpr char kSwiGlu[] = "swiglu";

PackedLinear::After AfterOf(const std::string& activation) {
  if (activation == "gelu") return PackedLinear::After::kGelu;
  if (activation == "gelu_pytorch_tanh") return PackedLinear::After::kGeluTanh;
  return PackedLinear::After::kNothing;
}

// quick_gelu(x) = x sigmoid(a x) = silu(a x) / a: fc1 takes a, fc2 takes 1 / a.
constexpr double kQuickGelu = 1.702;

Linear Times(Linear linear, double factor, bool bias_too) {
  linear.weight = linear.weight * factor;
  if (bias_too && linear.bias.defined()) linear.bias = linear.bias * factor;
  return linear;
}

// Outputs [begin, begin + count) of a layer.
Linear Part(const Linear& linear, int64_t begin, int64_t count) {
  Linear part;
  part.weight = linear.weight.narrow(0, begin, count).contiguous();
  if (linear.bias.defined()) part.bias = linear.bias.narrow(0, begin, count).contiguous();
  return part;
}

}  // namespace

void TransformerConfig::Check(const std::string& path) const {
  if (width % heads != 0) throw LoadError(absl::StrCat(path, ": width ", width, " does not divide into ", heads, " heads"));
  if (activation == kSwiGlu) return;
  try {
    (void)Activation(activation);
  } catch (const LoadError& error) {
    throw LoadError(absl::StrCat(path, ": ", error.what()));
  }
}

TransformerConfig ReadTransformerConfig(const JsonFile& json, const TransformerConfig& otherwise) {
  TransformerConfig c;
  c.width = json.Int("hidden_size", 1, kMaxWidth, otherwise.width);
  c.ffn = json.Int("intermediate_size", 1, kMaxWidth, otherwise.ffn);
  c.layers = json.Int("num_hidden_layers", 1, kMaxLayers, otherwise.layers);
  c.heads = json.Int("num_attention_heads", 1, kMaxWidth, otherwise.heads);
  c.activation = json.Text("hidden_act", otherwise.activation);
  c.eps = json.Number("layer_norm_eps", 0, 1, otherwise.eps);
  c.Check(json.path());
  return c;
}

TransformerLayer TransformerLayer::HuggingFace(const TransformerConfig& c, const Weights& w) {
  const Weights a = w / "self_attn", m = w / "mlp";
  return {LayerNorm(w / "layer_norm1", c.width, c.eps),
          LayerNorm(w / "layer_norm2", c.width, c.eps),
          Linear::Fused({Linear(a / "q_proj", c.width, c.width, true), Linear(a / "k_proj", c.width, c.width, true),
                         Linear(a / "v_proj", c.width, c.width, true)}),
          Linear(a / "out_proj", c.width, c.width, true),
          Linear(m / "fc1", c.width, c.ffn, true),
          Linear(m / "fc2", c.ffn, c.width, true)};
}

Linear Scaled(Linear linear, const at::Tensor& scale) {
  linear.weight = linear.weight * scale.unsqueeze(1);
  if (linear.bias.defined()) linear.bias = linear.bias * scale;
  return linear;
}

FeedForward::FeedForward(const TransformerConfig& c, Linear fc1, Linear fc2) {
  if (c.activation == kSwiGlu) {
    const int64_t width = fc1.weight.size(0) / 2;
    gated_ = PackedLinear(Part(fc1, width, width));
    fc1_ = PackedLinear(Part(fc1, 0, width), PackedLinear::After::kSilu);
  } else if (c.activation == "quick_gelu") {
    fc1_ = PackedLinear(Times(std::move(fc1), kQuickGelu, true), PackedLinear::After::kSilu);
    fc2 = Times(std::move(fc2), 1 / kQuickGelu, false);
  } else {
    fc1_ = PackedLinear(std::move(fc1), AfterOf(c.activation));
  }
  fc2_ = PackedLinear(std::move(fc2));
}

at::Tensor FeedForward::AddTo(const at::Tensor& residual, const at::Tensor& x) const {
  at::Tensor h = fc1_(x);
  if (gated_) h = h.mul_((*gated_)(x));
  return fc2_.AddTo(residual, h);
}

Transformer::Transformer(const TransformerConfig& c, const std::function<TransformerLayer(int64_t)>& layer)
    : width_(c.width), heads_(c.heads) {
  for (int64_t i = 0; i < c.layers; ++i) {
    TransformerLayer l = layer(i);
    if (i + 1 == c.layers) {
      last_q_ = PackedLinear(Part(l.qkv, 0, width_));
      last_kv_ = PackedLinear(Part(l.qkv, width_, 2 * width_));
    }
    layers_.push_back({l.norm1, l.norm2, PackedLinear(std::move(l.qkv)), PackedLinear(std::move(l.out)),
                       FeedForward(c, std::move(l.fc1), std::move(l.fc2))});
  }
}

at::Tensor Transformer::AfterAttention(const Layer& layer, const at::Tensor& x) {
  return layer.feed_forward.AddTo(x, layer.norm2(x));
}

// [n, length, width] -> [n, heads, length, width / heads], a view.
at::Tensor Transformer::Heads(const at::Tensor& x) const {
  return x.view({x.size(0), x.size(1), heads_, width_ / heads_}).transpose(1, 2);
}

at::Tensor Transformer::Before(at::Tensor x, bool causal) const {
  for (size_t i = 0; i + 1 < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto qkv = layer.qkv(layer.norm1(x)).chunk(3, -1);
    const at::Tensor h = at::scaled_dot_product_attention(Heads(qkv[0]), Heads(qkv[1]), Heads(qkv[2]), std::nullopt, 0.0, causal);
    x = AfterAttention(layer, layer.out.AddTo(x, h.transpose(1, 2).reshape(x.sizes())));
  }
  return x;
}

at::Tensor Transformer::All(at::Tensor x, bool causal) const {
  x = Before(std::move(x), causal);
  const Layer& layer = layers_.back();
  const auto qkv = layer.qkv(layer.norm1(x)).chunk(3, -1);
  const at::Tensor h = at::scaled_dot_product_attention(Heads(qkv[0]), Heads(qkv[1]), Heads(qkv[2]), std::nullopt, 0.0, causal);
  return AfterAttention(layer, layer.out.AddTo(x, h.transpose(1, 2).reshape(x.sizes())));
}

// `own` [n, width] is the rows asked for of x, `own_normal` and `normal` are norm1 of both.
at::Tensor Transformer::Last(const at::Tensor& x, const at::Tensor& normal, const at::Tensor& own, const at::Tensor& own_normal,
                             const std::optional<at::Tensor>& mask) const {
  const Layer& layer = layers_.back();
  const auto kv = last_kv_(normal).chunk(2, -1);
  const at::Tensor h =
      at::scaled_dot_product_attention(Heads(last_q_(own_normal).unsqueeze(1)), Heads(kv[0]), Heads(kv[1]), mask);
  return AfterAttention(layer, layer.out.AddTo(own, h.transpose(1, 2).reshape({x.size(0), width_})));
}

at::Tensor Transformer::At(at::Tensor x, const at::Tensor& rows, bool causal) const {
  x = Before(std::move(x), causal);
  const at::Tensor normal = layers_.back().norm1(x), index = rows.view({-1, 1, 1}).expand({-1, 1, width_});
  std::optional<at::Tensor> mask;
  if (causal) mask = at::arange(x.size(1), rows.options()).view({1, 1, 1, -1}).le(rows.view({-1, 1, 1, 1}));
  return Last(x, normal, x.gather(1, index).squeeze(1), normal.gather(1, index).squeeze(1), mask);
}

at::Tensor Transformer::At(at::Tensor x, int64_t row, bool causal) const {
  x = Before(std::move(x), causal);
  if (causal) x = x.narrow(1, 0, row + 1);
  const at::Tensor normal = layers_.back().norm1(x);
  return Last(x, normal, x.select(1, row), normal.select(1, row), std::nullopt);
}

PatchEmbedding::PatchEmbedding(const Weights& w, int64_t width, int64_t patch, bool with_bias) : patch_(patch) {
  Linear linear;
  linear.weight = w.Get("weight", {width, 3, patch, patch}).view({width, -1});
  if (with_bias) linear.bias = w.Get("bias", {width});
  linear_ = PackedLinear(std::move(linear));
}

at::Tensor PatchEmbedding::operator()(const at::Tensor& pixels) const {
  const int64_t n = pixels.size(0), p = patch_, rows = pixels.size(2) / p, columns = pixels.size(3) / p;
  return linear_(pixels.narrow(2, 0, rows * p)
                     .narrow(3, 0, columns * p)
                     .unflatten(3, {columns, p})
                     .unflatten(2, {rows, p})
                     .permute({0, 2, 4, 1, 3, 5})
                     .reshape({n, rows * columns, 3 * p * p}));
}

at::Tensor WithFirstRow(const at::Tensor& first, const at::Tensor& rows, const at::Tensor& positions) {
  at::Tensor x = at::empty({rows.size(0), rows.size(1) + 1, rows.size(2)}, rows.options());
  x.select(1, 0).copy_(first + positions.select(0, 0));
  at::Tensor others = x.narrow(1, 1, rows.size(1));
  at::add_out(others, rows, positions.narrow(0, 1, rows.size(1)));
  return x;
}

}  // namespace promptsweep::worker
