#include "worker/samplers/token_sampler.h"

#include <algorithm>

#include "worker/tensors/elementwise.h"

namespace promptsweep::worker {

TokenSampler::TokenSampler(const std::vector<TokenSampling>& rows, at::Device device) {
  const auto n = static_cast<int64_t>(rows.size());
  supercondition_ = at::empty({n, 1});
  temperature_ = at::empty({n, 1});
  top_p_ = at::empty({n, 1});
  flax_ = at::empty({n, 1}, at::kBool);
  keeps_all_ = at::empty({n, 1}, at::kBool);
  top_k_ = at::empty({n, 1}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    const bool flax = rows[i].form == SamplingForm::kFlax;
    supercondition_[i][0] = rows[i].supercondition;
    temperature_[i][0] = rows[i].temperature;
    top_p_[i][0] = rows[i].top_p;
    flax_[i][0] = flax;
    keeps_all_[i][0] = rows[i].top_k == 0;
    top_k_[i][0] = std::max<int64_t>(rows[i].top_k, 1);
    any_top_p_ |= rows[i].top_p < 1;
    any_keeps_all_ |= rows[i].top_k == 0;
    any_flax_ |= flax;
    all_flax_ &= flax;
    any_exact_ |= flax && rows[i].top_k > 0;
    largest_top_k_ = std::max(largest_top_k_, rows[i].top_k);
  }
  for (auto* tensor : {&supercondition_, &temperature_, &top_p_, &flax_, &keeps_all_, &top_k_}) *tensor = tensor->to(device);
}

at::Tensor TokenSampler::Guide(const at::Tensor& logits, const at::Tensor& unconditional_logits) const {
  if (!unconditional_logits.defined()) return logits;
  at::Tensor flax, min_dalle;
  if (any_flax_) flax = unconditional_logits + (logits - unconditional_logits).mul_(supercondition_);
  if (all_flax_) return flax;
  min_dalle = (unconditional_logits * (1 - supercondition_)).add_(logits * supercondition_);
  return any_flax_ ? at::where(flax_, flax, min_dalle) : min_dalle;
}

at::Tensor TokenSampler::TopK(const at::Tensor& scores) const {
  const int64_t k = std::min(largest_top_k_, scores.size(1));
  const at::Tensor largest = std::get<0>(scores.topk(k, 1));
  at::Tensor kept = scores >= largest.gather(1, (top_k_ - 1).clamp_max_(k - 1));
  if (any_exact_) {
    const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, 1, /*descending=*/true));
    const at::Tensor first = at::arange(scores.size(1), top_k_.options()) < top_k_;
    kept = at::where(flax_, at::zeros_like(kept).scatter_(1, order, first), kept);
  }
  if (any_keeps_all_) kept.logical_or_(keeps_all_);
  return kept;
}

at::Tensor TokenSampler::Draw(const at::Tensor& logits, const at::Tensor& unconditional_logits, const at::Tensor& noise) const {
  at::Tensor scores = Guide(logits, unconditional_logits);
  at::Tensor then = temperature_;  // what divides after the largest is taken off
  if (any_flax_) {
    scores = at::where(flax_, scores / temperature_, scores);
    then = at::where(flax_, at::ones_like(temperature_), temperature_);
  }
  const at::Tensor p = ExpInPlace((scores - std::get<0>(scores.max(1, /*keepdim=*/true))).div_(then));
  if (largest_top_k_ > 0) p.mul_(TopK(scores));
  if (any_top_p_) {
    const auto [sorted, order] = (p / p.sum(1, /*keepdim=*/true)).sort(/*stable=*/true, 1, /*descending=*/true);
    // A token stays while those before it sum to less than top_p, so the first always does.
    at::Tensor stays = at::ones(sorted.sizes(), keeps_all_.options());
    const int64_t rest = sorted.size(1) - 1;
    stays.narrow(1, 1, rest).copy_((sorted.cumsum(1).narrow(1, 0, rest) < top_p_).logical_or_(top_p_ >= 1));
    p.mul_(at::zeros_like(stays).scatter_(1, order, stays));
  }
  return p.div_(noise).argmax(1);
}

}  // namespace promptsweep::worker
