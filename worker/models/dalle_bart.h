// DALL-E mini's text encoder and image-token decoder: BART with NormFormer norms and gated feed-forwards, no biases in its
// products. Every size comes from the published config.json keys, so mini, mega and smaller ones are the same code.
//   embed : x = LN(token + position)
//   layer : x += LN(Attention(LN(x)));  decoder: x += LN(CrossAttention(LN(x), text));  x += GLU(x)
//   GLU(z): fc2(LN(gelu(fc0(z')) * fc1(z'))),  z' = LN(z)
// Source: min-dalle 0.4.11 (dalle_bart_encoder.py, dalle_bart_decoder.py), dalle-mini modeling.py.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "worker/models/layers.h"
#include "worker/models/row_linear.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/weights.h"

namespace promptsweep::worker {

struct DalleConfig {
  int64_t width = 0;  // "d_model"
  int64_t encoder_layers = 0, encoder_heads = 0, encoder_ffn = 0;
  int64_t decoder_layers = 0, decoder_heads = 0, decoder_ffn = 0;
  int64_t text_vocab = 0;       // "encoder_vocab_size"
  int64_t text_length = 0;      // "max_text_length"
  int64_t image_vocab = 0;      // "image_vocab_size"; the decoder has one row more, for the start token
  int64_t image_length = 0;     // tokens of a picture
  int64_t start_token = 0;      // "decoder_start_token_id"
  bool normalize_text = false;  // of the Flax pipeline's tokenizer

  // Throws LoadError; also where the configuration switches on something this architecture variant does not have.
  explicit DalleConfig(const JsonFile& json);
};

// Scores added to attention: 0 where a text token is attended to, -1e12 elsewhere. Where none is, all are, evenly.
// read bool [n, length] -> [n, 1, 1, length] of `dtype`.
at::Tensor TextBias(const at::Tensor& read, at::ScalarType dtype);

namespace dalle {

// Multi-head attention without biases; q, k and v are one product where they share an input.
struct Attention {
  RowLinear query;  // cross only
  RowLinear fused;  // self: q|k|v; cross: k|v
  RowLinear out;
  Attention() = default;
  Attention(const Weights& w, int64_t width, bool cross);
};

struct Glu {
  LayerNorm before, between;
  RowLinear in;  // fc0|fc1
  RowLinear out;
  Glu() = default;
  Glu(const Weights& w, int64_t width, int64_t ffn);
  at::Tensor operator()(const at::Tensor& x) const;
};

struct Embedding {
  at::Tensor tokens, positions;
  LayerNorm norm;
  Embedding() = default;
  Embedding(const Weights& w, int64_t vocab, int64_t length, int64_t width);
};

struct Layer {
  LayerNorm before_self, after_self, before_cross, after_cross;
  Attention self, cross;  // cross in the decoder only
  Glu glu;
  Layer(const Weights& w, int64_t width, int64_t ffn, bool decoder);
};

}  // namespace dalle

// Immutable after construction; thread-safe. The constructor throws LoadError.
class DalleEncoder {
 public:
  DalleEncoder(const DalleConfig& config, const Weights& w);
  // tokens int64 [n, text_length], bias as of TextBias -> [n, text_length, width].
  at::Tensor Encode(const at::Tensor& tokens, const at::Tensor& bias) const;

 private:
  DalleConfig config_;
  dalle::Embedding embedding_;
  std::vector<dalle::Layer> layers_;
  LayerNorm final_;
};

// Rows of a batch that read texts: their keys and values, computed once per text.
struct CrossRows {
  int64_t begin = 0, end = 0;            // rows of the batch
  std::vector<at::Tensor> keys, values;  // per layer [end - begin or 1, heads, text_length, head_dim]; 1 is shared by all
  at::Tensor bias;                       // [end - begin or 1, 1, 1, text_length]
};

// What the decoder remembers of the tokens so far. For one batch, one walk from position 0.
struct DecoderState {
  int64_t position = 0;
  std::vector<at::Tensor> keys, values;  // per layer [rows, heads, image_length, head_dim]
  std::vector<CrossRows> cross;          // covers all rows, in order
};

// Immutable after construction; thread-safe. The constructor throws LoadError.
class DalleDecoder {
 public:
  DalleDecoder(const DalleConfig& config, const Weights& w);

  // Keys and values of an encoded text for every layer: [n, text_length, width] -> [layers, 2, n, heads, text_length, head_dim].
  at::Tensor CrossKeysValues(const at::Tensor& encoded) const;
  // A fresh state for `rows` rows, without cross.
  DecoderState Begin(int64_t rows) const;
  // Advances by one token: int64 [rows], the token before this position (start_token at position 0) -> logits float32
  // [rows, image_vocab + 1]. Precondition: state.position < image_length.
  at::Tensor Step(DecoderState& state, const at::Tensor& tokens) const;
  // The same for a device that records its work: what is asked of it does not depend on `position`, int64 [1] on the device,
  // which is below `reach` <= image_length. Leaves state.position alone; keys and values of positions below `reach` are finite
  // numbers.
  at::Tensor StepAt(DecoderState& state, const at::Tensor& tokens, const at::Tensor& position, int64_t reach) const;

 private:
  // What a step reads and writes of the past.
  struct Past {
    int64_t length = 0;  // positions that attention reads
    at::Tensor place;    // int64 [1]: where this one is; undefined: the last
    at::Tensor mask;     // [length], 0 where it may be read; undefined: everywhere
  };
  at::Tensor Layers(DecoderState& state, at::Tensor x, const Past& past) const;

  DalleConfig config_;
  dalle::Embedding embedding_;
  std::vector<dalle::Layer> layers_;
  LayerNorm final_;
  RowLinear head_;
};

}  // namespace promptsweep::worker
