// Shapes of operations that libtorch's "meta" device has in Python only. Include in one file of a program. Like those it has, they
// refuse tensors of another device.
#pragma once

#include <ATen/ATen.h>
#include <torch/library.h>

#include <initializer_list>
#include <vector>

namespace promptsweep::worker::meta_kernels {

inline void CheckMeta(std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& tensor : tensors) TORCH_CHECK(!tensor.defined() || tensor.is_meta(), "a tensor on ", tensor.device());
}

inline at::Tensor IndexSelect(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  CheckMeta({self, index});
  std::vector<int64_t> shape = self.sizes().vec();
  shape[dim < 0 ? dim + self.dim() : dim] = index.numel();
  return at::empty(shape, self.options());
}

inline at::Tensor Where(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other) {
  CheckMeta({condition, self, other});
  return at::empty(at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes())), self.options());
}

inline at::Tensor& LogicalNot(const at::Tensor& self, at::Tensor& out) {
  CheckMeta({self, out});
  return out.resize_(self.sizes());
}

inline at::Tensor& LogicalOr(const at::Tensor& self, const at::Tensor& other, at::Tensor& out) {
  CheckMeta({self, other, out});
  return out.resize_(at::infer_size(self.sizes(), other.sizes()));
}

// Stride 1 and as much padding as keeps height and width.
inline at::Tensor Convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                              c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
                              c10::IntArrayRef output_padding, int64_t groups) {
  CheckMeta({input, weight, bias.value_or(at::Tensor())});
  TORCH_CHECK(input.size(1) == weight.size(1), "channels");
  return at::empty({input.size(0), weight.size(0), input.size(2) + 2 * padding[0] - weight.size(2) + 1,
                    input.size(3) + 2 * padding[1] - weight.size(3) + 1},
                   input.options());
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("index_select", IndexSelect);
  library.impl("where.self", Where);
  library.impl("logical_not.out", LogicalNot);
  library.impl("logical_or.out", LogicalOr);
  library.impl("convolution_overrideable", Convolution);
}

}  // namespace promptsweep::worker::meta_kernels
