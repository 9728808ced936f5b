#include "worker/tensors/elementwise.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <vector>

#include "worker/tensors/parallel.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kBlock = 4096;      // elements; a whole number of every vector
constexpr int64_t kLeast = 16 << 10;  // of one thread; below what torch itself would divide

template <typename Op>
at::Tensor InBlocks(const at::Tensor& x, Op op) {
  if (!x.is_cpu() || !x.is_non_overlapping_and_dense()) {
    op(x);
    return x;
  }
  const int64_t count = x.numel();
  const at::Tensor flat = x.as_strided({count}, {1});
  const bool inference = x.is_inference();
  ParallelFor((count + kBlock - 1) / kBlock, kLeast / kBlock, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode as_there(inference);
    op(flat.narrow(0, begin * kBlock, std::min(end * kBlock, count) - begin * kBlock));
  });
  return x;
}

}  // namespace

at::Tensor ExpInPlace(const at::Tensor& x) {
  return InBlocks(x, [](const at::Tensor& part) { part.exp_(); });
}

at::Tensor SiluInPlace(const at::Tensor& x) {
  return InBlocks(x, [](const at::Tensor& part) {
    at::Tensor in_place = part;
    at::silu_(in_place);
  });
}

at::Tensor PowInPlace(const at::Tensor& x, double exponent) {
  return InBlocks(x, [exponent](const at::Tensor& part) { part.pow_(exponent); });
}

at::Tensor GatedGelu(const at::Tensor& halves) {
  const int64_t width = halves.size(-1) / 2;
  const at::Tensor rows = halves.reshape({-1, 2 * width});
  std::vector<int64_t> shape = halves.sizes().vec();
  shape.back() = width;
  at::Tensor out = at::empty({rows.size(0), width}, rows.options());
  const auto part = [&](int64_t begin, int64_t end) {
    const at::Tensor from = rows.narrow(0, begin, end - begin);
    at::Tensor to = out.narrow(0, begin, end - begin);
    at::gelu_out(to, from.narrow(1, 0, width));
    to.mul_(from.narrow(1, width, width));
  };
  if (!halves.is_cpu()) {
    part(0, rows.size(0));
  } else {
    const bool inference = halves.is_inference();
    ParallelFor(rows.size(0), std::max<int64_t>(1, kLeast / width), [&](int64_t begin, int64_t end) {
      const c10::InferenceMode as_there(inference);
      part(begin, end);
    });
  }
  return out.view(shape);
}

}  // namespace promptsweep::worker
