#include "worker/models/row_linear.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "worker/tensors/parallel.h"
#include "worker/tensors/row_product.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kPair = 2;                // panels that one pass reads
constexpr int64_t kWorthAThread = 1 << 19;  // multiply-adds

RowType TypeOf(at::ScalarType type) {
  return type == at::kFloat ? RowType::kFloat : type == at::kBFloat16 ? RowType::kBFloat16 : RowType::kHalf;
}

bool CanPack(const at::Tensor& weight) {
  const auto type = weight.scalar_type();
  return weight.is_cpu() && (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf);
}

}  // namespace

RowLinear::RowLinear(Linear linear) : in_(linear.weight.size(1)), out_(linear.weight.size(0)) {
  if (!CanPack(linear.weight)) {
    linear_ = std::move(linear);
    return;
  }
  const at::Tensor weight = linear.weight.contiguous();
  packed_ = at::empty({RowPanels(out_), in_, kPanel}, weight.options());
  PackRows(TypeOf(weight.scalar_type()), weight.const_data_ptr(), out_, in_, packed_.mutable_data_ptr());
}

at::Tensor RowLinear::operator()(const at::Tensor& x) const {
  if (!packed_.defined()) return linear_(x);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out_;
  const at::Tensor input = x.to(at::kFloat).contiguous();
  const int64_t rows = input.numel() / in_, panels = RowPanels(out_);
  const at::Tensor output = at::empty(shape, input.options());
  const RowType type = TypeOf(packed_.scalar_type());
  const auto* const from = input.const_data_ptr<float>();
  auto* const to = output.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / (kPair * kPanel * in_ * std::max<int64_t>(rows, 1)));
  ParallelFor((panels + kPair - 1) / kPair, grain, [&](int64_t begin, int64_t end) {
    RowProduct(type, packed_.const_data_ptr(), in_, out_, begin * kPair, std::min(end * kPair, panels), from, rows, to);
  });
  return output.to(x.scalar_type());
}

}  // namespace promptsweep::worker
