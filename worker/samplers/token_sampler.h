// Drawing one token per row from logits, with the noise given explicitly, after min-dalle 0.4.11's sample_tokens.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace promptsweep::worker {

// How one image's tokens are drawn.
struct TokenSampling {
  double temperature = 1;     // above 0
  int64_t top_k = 0;          // keep the k largest logits, and all that tie with the k-th; 0 keeps all
  double top_p = 1;           // then keep the fewest largest probabilities that sum to at least this; 1 keeps all
  double supercondition = 1;  // guidance: uncond * (1 - s) + cond * s; 1 is no guidance

  friend bool operator==(const TokenSampling&, const TokenSampling&) = default;
};

// Rows' settings as tensors, made once per batch. Immutable.
class TokenSampler {
 public:
  // `rows`: one entry per image.
  TokenSampler(const std::vector<TokenSampling>& rows, at::Device device);

  // The draw: logits float32 [n, vocab] (unconditional_logits the same, or undefined where no row is guided), exponential
  // noise q ~ Exp(1) float32 [n, vocab] -> int64 [n], argmax(p / q), which is torch.multinomial's own method: row i is what
  // torch.multinomial gives for it alone. In order: guidance, top-k (before the temperature, ties kept), temperature, top-p.
  // Row i of the result depends on row i of the arguments alone.
  at::Tensor Draw(const at::Tensor& logits, const at::Tensor& unconditional_logits, const at::Tensor& noise) const;

 private:
  at::Tensor supercondition_, temperature_, top_p_;  // float32 [n, 1]
  at::Tensor top_k_index_;                           // int64 [n, 1]: position of the k-th largest
  std::vector<int64_t> top_k_;
  int64_t largest_top_k_ = 0;
  bool any_top_p_ = false, any_keeps_all_ = false;
  at::Tensor keeps_all_;  // bool [n, 1]: top_k off
};

}  // namespace promptsweep::worker
