// A Linear made ready for many rows: on a CPU in float32 its weights are packed once for oneDNN, and what follows it (an
// activation, the sum with a residual) happens inside the product. Elsewhere it is the plain operations.
#pragma once

#include <ATen/ATen.h>

#include "worker/models/layers.h"

namespace promptsweep::worker {

// Immutable; thread-safe. Sums do not depend on the number of rows (8 or more) or threads: oneDNN splits neither the summed axis
// nor, for that number of rows, takes another kernel; invariance_test watches it.
class PackedLinear {
 public:
  enum class After { kNothing, kGelu, kGeluTanh, kSilu };

  PackedLinear() = default;
  explicit PackedLinear(Linear linear, After after = After::kNothing);
  // [..., in] -> [..., out].
  at::Tensor operator()(const at::Tensor& x) const;
  // residual + layer(x), with no activation between; residual is [..., out] and not changed.
  at::Tensor AddTo(const at::Tensor& residual, const at::Tensor& x) const;

 private:
  Linear plain_;       // where not packed; else its bias alone
  at::Tensor packed_;  // or undefined
  After after_ = After::kNothing;
};

}  // namespace promptsweep::worker
