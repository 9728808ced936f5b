#include "worker/models/packed_linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string_view>
#include <utility>

namespace promptsweep::worker {
namespace {

// libtorch's own names for these operators, which have no C++ declaration.
at::Tensor Pack(const at::Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<at::Tensor(const at::Tensor&, std::optional<int64_t>)>();
  return op.call(weight, std::nullopt);
}

at::Tensor PackedProduct(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         std::string_view after, std::optional<std::string_view> algorithm) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                            c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>();
  return op.call(x, weight, bias, after, c10::List<std::optional<at::Scalar>>(), algorithm);
}

at::Tensor PackedSum(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                     const std::optional<at::Tensor>& bias) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "binary")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                               const std::optional<at::Tensor>&, std::string_view)>();
  return op.call(x, residual, weight, bias, "add");
}

std::optional<at::Tensor> IfDefined(const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; }

}  // namespace

PackedLinear::PackedLinear(Linear linear, After after) : plain_(std::move(linear)), after_(after) {
  if (plain_.weight.is_cpu() && plain_.weight.scalar_type() == at::kFloat && at::hasMKLDNN() &&
      at::globalContext().userEnabledMkldnn()) {
    packed_ = Pack(plain_.weight);
    plain_.weight.reset();
  }
}

at::Tensor PackedLinear::operator()(const at::Tensor& x) const {
  if (!packed_.defined()) {
    const at::Tensor y = plain_(x);
    switch (after_) {
      case After::kGelu:
        return at::gelu(y);
      case After::kGeluTanh:
        return at::gelu(y, "tanh");
      case After::kSilu:
        return at::silu(y);
      case After::kNothing:
        break;
    }
    return y;
  }
  const at::Tensor rows = x.contiguous();
  switch (after_) {
    case After::kGelu:
      return PackedProduct(rows, packed_, IfDefined(plain_.bias), "gelu", "none");
    case After::kGeluTanh:
      return PackedProduct(rows, packed_, IfDefined(plain_.bias), "gelu", "tanh");
    case After::kSilu:
      return PackedProduct(rows, packed_, IfDefined(plain_.bias), "swish", std::nullopt);
    case After::kNothing:
      break;
  }
  return PackedProduct(rows, packed_, IfDefined(plain_.bias), "none", std::nullopt);
}

at::Tensor PackedLinear::AddTo(const at::Tensor& residual, const at::Tensor& x) const {
  if (!packed_.defined()) return residual + plain_(x);
  return PackedSum(x.contiguous(), residual.contiguous(), packed_, IfDefined(plain_.bias));
}

}  // namespace promptsweep::worker
