// Drawing one token per row from logits, with the noise given explicitly, in the arithmetic of either DALL-E mini implementation.
//
// min-dalle 0.4.11 (sample_tokens): guidance u (1 - s) + c s; top-k on the logits, ties with the k-th kept; then the temperature.
// dalle-mini's Flax (_sample and transformers' warpers): guidance u + s (c - u); temperature; then exactly k, of equals those of
// lower id. Both: top-p last (min-dalle has none): the fewest likeliest tokens that reach it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace promptsweep::worker {

enum class SamplingForm { kMinDalle, kFlax };

// How one image's tokens are drawn.
struct TokenSampling {
  double temperature = 1;     // above 0
  int64_t top_k = 0;          // keep the k largest logits; 0 keeps all
  double top_p = 1;           // then keep the fewest largest probabilities that sum to at least this; 1 keeps all
  double supercondition = 1;  // guidance; 1 is none
  SamplingForm form = SamplingForm::kMinDalle;

  friend bool operator==(const TokenSampling&, const TokenSampling&) = default;
};

// Rows' settings as tensors, made once per batch. Immutable.
class TokenSampler {
 public:
  // `rows`: one entry per image.
  TokenSampler(const std::vector<TokenSampling>& rows, at::Device device);

  // The draw: logits float32 [n, vocab] (unconditional_logits the same, or undefined where no row is guided), exponential
  // noise q ~ Exp(1) float32 [n, vocab] -> int64 [n], argmax(p / q), which is torch.multinomial's own method: row i is what
  // torch.multinomial gives for it alone. (Flax draws with a generator of JAX's, whose numbers are others.) Row i of the result
  // depends on row i of the arguments alone.
  at::Tensor Draw(const at::Tensor& logits, const at::Tensor& unconditional_logits, const at::Tensor& noise) const;

 private:
  at::Tensor Guide(const at::Tensor& logits, const at::Tensor& unconditional_logits) const;
  // Which tokens top-k keeps of scores [n, vocab]: bool [n, vocab].
  at::Tensor TopK(const at::Tensor& scores) const;

  at::Tensor supercondition_, temperature_, top_p_;  // float32 [n, 1]
  at::Tensor flax_, keeps_all_;                      // bool [n, 1]; keeps_all_: top_k off
  at::Tensor top_k_;                                 // int64 [n, 1], at least 1
  int64_t largest_top_k_ = 0;
  bool any_top_p_ = false, any_keeps_all_ = false, any_flax_ = false, all_flax_ = true, any_exact_ = false;
};

}  // namespace promptsweep::worker
