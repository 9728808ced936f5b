// A layer for few rows at a time: a decoder's, which sees one token per row and step.
#pragma once

#include <ATen/ATen.h>

#include "worker/models/layers.h"

namespace promptsweep::worker {

// y = x W^T over the last axis, without bias; sums in float32, result in the type of x. On a CPU the weights are packed for
// tensors/row_product.h when constructed (the argument's are no longer needed), and a row's numbers depend on that row alone;
// elsewhere it is Linear. Immutable; thread-safe.
class RowLinear {
 public:
  RowLinear() = default;
  explicit RowLinear(Linear linear);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  Linear linear_;      // where nothing is packed
  at::Tensor packed_;  // [panels, in, 16]
  int64_t in_ = 0, out_ = 0;
};

}  // namespace promptsweep::worker
