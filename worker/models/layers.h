// The few layers that every model here is built of. A layer takes its tensors from a weight cursor; calling it runs it. None
// keeps state between calls, so a loaded model may be shared by threads.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "worker/tensors/weights.h"

namespace promptsweep::worker {

// y = x W^T (+ b), over the last axis.
struct Linear {
  at::Tensor weight, bias;  // [out, in]; [out] or undefined

  Linear() = default;
  Linear(const Weights& w, int64_t in, int64_t out, bool with_bias);
  // Several layers on one input as one product: the outputs side by side, in order.
  static Linear Fused(std::initializer_list<Linear> parts);
  at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

// Normalisation over the last axis.
struct LayerNorm {
  at::Tensor weight, bias;
  double eps = 1e-5;

  LayerNorm() = default;
  // `scale_optional`: a missing "weight" stands for ones.
  LayerNorm(const Weights& w, int64_t width, double eps, bool scale_optional = false);
  at::Tensor operator()(const at::Tensor& x) const;
};

// Normalisation over groups of channels of [n, channels, ...].
struct GroupNorm {
  at::Tensor weight, bias;
  int64_t groups = 0;
  double eps = 0;

  GroupNorm() = default;
  GroupNorm(const Weights& w, int64_t channels, int64_t groups, double eps);
  at::Tensor operator()(const at::Tensor& x) const;
};

// Convolution that keeps height and width: an odd square kernel, stride 1.
struct Conv2d {
  at::Tensor weight, bias;  // [out, in, k, k]; [out]

  Conv2d() = default;
  Conv2d(const Weights& w, int64_t in, int64_t out, int64_t kernel);
  at::Tensor operator()(const at::Tensor& x) const;
};

// The named activation of a Hugging Face configuration: "gelu" (exact), "quick_gelu" (x * sigmoid(1.702 x)) or
// "gelu_pytorch_tanh". The constructor throws LoadError for another name.
class Activation {
 public:
  explicit Activation(const std::string& name);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  enum class Kind { kGelu, kGeluTanh, kQuickGelu } kind_;
};

}  // namespace promptsweep::worker
