#include "worker/models/layers.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {

Linear::Linear(const Weights& w, int64_t in, int64_t out, bool with_bias) : weight(w.Get("weight", {out, in})) {
  if (with_bias) bias = w.Get("bias", {out});
}

Linear Linear::Fused(std::initializer_list<Linear> parts) {
  std::vector<at::Tensor> weights, biases;
  for (const auto& part : parts) {
    weights.push_back(part.weight);
    if (part.bias.defined()) biases.push_back(part.bias);
  }
  Linear fused;
  fused.weight = at::cat(weights);
  if (!biases.empty()) fused.bias = at::cat(biases);
  return fused;
}

LayerNorm::LayerNorm(const Weights& w, int64_t width, double eps, bool scale_optional)
    : weight(scale_optional ? w.GetOrOnes("weight", {width}) : w.Get("weight", {width})),
      bias(w.Get("bias", {width})),
      eps(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return at::layer_norm(x, {weight.size(0)}, weight, bias, eps); }

GroupNorm::GroupNorm(const Weights& w, int64_t channels, int64_t groups, double eps)
    : weight(w.Get("weight", {channels})), bias(w.Get("bias", {channels})), groups(groups), eps(eps) {}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const { return at::group_norm(x, groups, weight, bias, eps); }

Conv2d::Conv2d(const Weights& w, int64_t in, int64_t out, int64_t kernel)
    : weight(w.Get("weight", {out, in, kernel, kernel})), bias(w.Get("bias", {out})) {}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, /*stride=*/1, /*padding=*/weight.size(2) / 2);
}

Activation::Activation(const std::string& name) {
  if (name == "gelu") {
    kind_ = Kind::kGelu;
  } else if (name == "quick_gelu") {
    kind_ = Kind::kQuickGelu;
  } else if (name == "gelu_pytorch_tanh") {
    kind_ = Kind::kGeluTanh;
  } else {
    throw LoadError(absl::StrCat("unknown activation \"", name, "\"; known: gelu, quick_gelu, gelu_pytorch_tanh"));
  }
}

at::Tensor Activation::operator()(const at::Tensor& x) const {
  switch (kind_) {
    case Kind::kGelu:
      return at::gelu(x);
    case Kind::kGeluTanh:
      return at::gelu(x, "tanh");
    case Kind::kQuickGelu:
      break;
  }
  return x * at::sigmoid(1.702 * x);
}

}  // namespace promptsweep::worker
