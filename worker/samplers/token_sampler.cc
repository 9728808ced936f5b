#include "worker/samplers/token_sampler.h"

#include <algorithm>

namespace promptsweep::worker {

TokenSampler::TokenSampler(const std::vector<TokenSampling>& rows, at::Device device) {
  const auto n = static_cast<int64_t>(rows.size());
  supercondition_ = at::empty({n, 1});
  temperature_ = at::empty({n, 1});
  top_p_ = at::empty({n, 1});
  keeps_all_ = at::empty({n, 1}, at::kBool);
  for (int64_t i = 0; i < n; ++i) {
    supercondition_[i][0] = rows[i].supercondition;
    temperature_[i][0] = rows[i].temperature;
    top_p_[i][0] = rows[i].top_p;
    keeps_all_[i][0] = rows[i].top_k == 0;
    any_top_p_ |= rows[i].top_p < 1;
    any_keeps_all_ |= rows[i].top_k == 0;
    top_k_.push_back(rows[i].top_k);
    largest_top_k_ = std::max(largest_top_k_, rows[i].top_k);
  }
  for (auto* tensor : {&supercondition_, &temperature_, &top_p_, &keeps_all_}) *tensor = tensor->to(device);
}

at::Tensor TokenSampler::Draw(const at::Tensor& logits, const at::Tensor& unconditional_logits, const at::Tensor& noise) const {
  at::Tensor guided = logits;
  if (unconditional_logits.defined()) {
    guided = unconditional_logits * (1 - supercondition_) + logits * supercondition_;
  }
  const int64_t vocab = guided.size(1);
  at::Tensor p = ((guided - std::get<0>(guided.max(1, /*keepdim=*/true))) / temperature_).exp_();
  if (largest_top_k_ > 0) {
    const int64_t k = std::min(largest_top_k_, vocab);
    const at::Tensor largest = std::get<0>(guided.topk(k, 1));
    at::Tensor index = at::empty({static_cast<int64_t>(top_k_.size()), 1}, at::kLong);
    for (size_t i = 0; i < top_k_.size(); ++i) index[static_cast<int64_t>(i)][0] = std::clamp<int64_t>(top_k_[i], 1, k) - 1;
    at::Tensor kept = guided >= largest.gather(1, index.to(guided.device()));
    if (any_keeps_all_) kept.logical_or_(keeps_all_);
    p.mul_(kept);
  }
  if (any_top_p_) {
    auto [sorted, order] = (p / p.sum(1, /*keepdim=*/true)).sort(/*stable=*/true, 1, /*descending=*/true);
    // A token stays while those before it sum to less than top_p, so the first always does.
    const at::Tensor stays = ((sorted.cumsum(1) - sorted) < top_p_).logical_or_(top_p_ >= 1);
    p.mul_(at::zeros_like(stays).scatter_(1, order, stays));
  }
  return p.div_(noise).argmax(1);
}

}  // namespace promptsweep::worker
