// Functions of each element whose numbers do not depend on the number of threads. torch's own cut a tensor at any element, and
// what is left of a vector there goes through other code, which rounds differently; these cut at whole blocks.
#pragma once

#include <ATen/ATen.h>

namespace promptsweep::worker {

// In place, dense tensors of any layout; on any device. Return the argument.
at::Tensor ExpInPlace(const at::Tensor& x);
at::Tensor SiluInPlace(const at::Tensor& x);
at::Tensor PowInPlace(const at::Tensor& x, double exponent);

// gelu(left half) * right half of the last axis: [..., 2 n] -> [..., n], each row by itself.
at::Tensor GatedGelu(const at::Tensor& halves);

}  // namespace promptsweep::worker
