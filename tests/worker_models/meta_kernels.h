// Shapes of operations that libtorch's "meta" device has in Python only. Include in one file of a program. Like those it has,
// they refuse tensors of another device.
#pragma once

#include <ATen/ATen.h>
#include <torch/library.h>

#include <initializer_list>
#include <optional>
#include <tuple>
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

inline at::Tensor& WhereOut(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other, at::Tensor& out) {
  CheckMeta({condition, self, other, out});
  out.resize_(at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes())));
  return out;
}

inline at::Tensor Where(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other) {
  at::Tensor out = at::empty({0}, self.options());
  return WhereOut(condition, self, other, out);
}

inline at::Tensor& LogicalNot(const at::Tensor& self, at::Tensor& out) {
  CheckMeta({self, out});
  out.resize_(self.sizes());
  return out;
}

inline at::Tensor& LogicalOr(const at::Tensor& self, const at::Tensor& other, at::Tensor& out) {
  CheckMeta({self, other, out});
  out.resize_(at::infer_size(self.sizes(), other.sizes()));
  return out;
}

// What layer and group normalisation are made of here.
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> BatchNorm(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                                                                const std::optional<at::Tensor>& bias,
                                                                const std::optional<at::Tensor>& mean,
                                                                const std::optional<at::Tensor>& variance, bool, double, double) {
  const auto given = [](const std::optional<at::Tensor>& tensor) { return tensor.value_or(at::Tensor()); };
  CheckMeta({input, given(weight), given(bias), given(mean), given(variance)});
  const at::Tensor saved = at::empty({input.size(1)}, input.options());
  return {at::empty_like(input), saved, at::empty_like(saved)};
}

inline at::Tensor Convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                              c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
                              c10::IntArrayRef output_padding, int64_t groups) {
  CheckMeta({input, weight, bias.value_or(at::Tensor())});
  TORCH_CHECK(input.size(1) == weight.size(1) * groups, "channels");
  return at::empty({input.size(0), weight.size(0), (input.size(2) + 2 * padding[0] - weight.size(2)) / stride[0] + 1,
                    (input.size(3) + 2 * padding[1] - weight.size(3)) / stride[1] + 1},
                   input.options());
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("index_select", IndexSelect);
  library.impl("where.self", Where);
  library.impl("where.self_out", WhereOut);
  library.impl("logical_not.out", LogicalNot);
  library.impl("logical_or.out", LogicalOr);
  library.impl("native_batch_norm", BatchNorm);
  library.impl("convolution_overrideable", Convolution);
}

}  // namespace promptsweep::worker::meta_kernels
