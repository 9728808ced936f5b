// The pre-norm transformer that every embedder's towers are: x + out(attention(norm1(x))), then x + fc2(act(fc1(norm2(x)))).
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "worker/models/layers.h"
#include "worker/models/packed_linear.h"
#include "worker/tensors/json_file.h"

namespace promptsweep::worker {

// One tower's sizes.
struct TransformerConfig {
  int64_t width = 0, ffn = 0, layers = 0, heads = 0;
  std::string activation;  // a Hugging Face name, or "swiglu": silu of the first half of fc1's outputs, times the second
  double eps = 1e-5;

  // Throws LoadError, naming `path`, where width does not divide into heads or the activation is unknown.
  void Check(const std::string& path) const;
};

// Sizes by Hugging Face's keys, with the defaults given in `otherwise` for keys that are left out. Throws LoadError.
TransformerConfig ReadTransformerConfig(const JsonFile& json, const TransformerConfig& otherwise);

// One layer's weights as a checkpoint holds them.
struct TransformerLayer {
  LayerNorm norm1, norm2;
  Linear qkv;  // queries, keys, values, in this order
  Linear out;
  Linear fc1, fc2;

  // Hugging Face's names in CLIP and SigLIP: layer_norm1, self_attn.{q,k,v,out}_proj, layer_norm2, mlp.fc1, mlp.fc2.
  static TransformerLayer HuggingFace(const TransformerConfig& config, const Weights& w);
};

// The layer whose outputs are multiplied by `scale` [out] (LayerScale), as one layer.
Linear Scaled(Linear linear, const at::Tensor& scale);

// The second half of a layer: fc2(act(fc1(x))), with "swiglu" too. Immutable; thread-safe.
class FeedForward {
 public:
  FeedForward() = default;
  FeedForward(const TransformerConfig& config, Linear fc1, Linear fc2);
  // residual + this(x).
  at::Tensor AddTo(const at::Tensor& residual, const at::Tensor& x) const;

 private:
  PackedLinear fc1_, fc2_;
  std::optional<PackedLinear> gated_;  // of "swiglu": what the activated outputs are multiplied with
};

// Immutable; thread-safe.
class Transformer {
 public:
  // `layer` gives layer 0, 1, ...; one at a time is held beside what is made of it.
  Transformer(const TransformerConfig& config, const std::function<TransformerLayer(int64_t)>& layer);
  // [n, length, width] -> the same.
  at::Tensor All(at::Tensor x, bool causal) const;
  // All(x)[i, rows[i]] for every i, as [n, width]: the last layer is computed there alone. `rows` is int64 [n] on x's device.
  at::Tensor At(at::Tensor x, const at::Tensor& rows, bool causal) const;
  // The same at one place for all.
  at::Tensor At(at::Tensor x, int64_t row, bool causal) const;

 private:
  struct Layer {
    LayerNorm norm1, norm2;
    PackedLinear qkv, out;
    FeedForward feed_forward;
  };
  at::Tensor Heads(const at::Tensor& x) const;
  static at::Tensor AfterAttention(const Layer& layer, const at::Tensor& x);
  at::Tensor Before(at::Tensor x, bool causal) const;
  at::Tensor Last(const at::Tensor& x, const at::Tensor& normal, const at::Tensor& own, const at::Tensor& own_normal,
                  const std::optional<at::Tensor>& mask) const;

  int64_t width_, heads_;
  std::vector<Layer> layers_;
  PackedLinear last_q_, last_kv_;  // the last layer's qkv in two
};

// Images cut into squares, each a row: the patch convolution as one product.
class PatchEmbedding {
 public:
  PatchEmbedding() = default;
  // "weight" [width, 3, patch, patch], and "bias" [width] where there is one.
  PatchEmbedding(const Weights& w, int64_t width, int64_t patch, bool with_bias);
  // [n, 3, h, w] -> [n, (h / patch) * (w / patch), width]; what is left over at the right and at the bottom is not read.
  at::Tensor operator()(const at::Tensor& pixels) const;

 private:
  int64_t patch_ = 0;
  PackedLinear linear_;
};

// Table rows `positions` [1 + p, width] added to [first, rows]: [n, 1 + p, width] of a first row `first` [width] and `rows`
// [n, p, width].
at::Tensor WithFirstRow(const at::Tensor& first, const at::Tensor& rows, const at::Tensor& positions);

}  // namespace promptsweep::worker
