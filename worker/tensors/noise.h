// One random stream per image, so that an image's noise depends on its seed alone and not on its batch.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace promptsweep::worker {

// PyTorch's CPU generator (mt19937): the numbers of torch.Generator().manual_seed(seed) in Python, whatever device the model
// runs on. As there, only the low 32 bits of the seed count. Always float32, on the CPU: noise drawn in another type is a
// different stream, and noise drawn on a GPU depends on the GPU. Not thread-safe.
class ImageNoise {
 public:
  explicit ImageNoise(int64_t seed);
  // Fills a contiguous float32 CPU tensor with draws of N(0, 1), as torch.randn does.
  void Normal(const at::Tensor& out);
  // Fills a contiguous float32 CPU tensor with draws of Exp(1), as torch.multinomial does.
  void Exponential(const at::Tensor& out);

 private:
  at::Generator generator_;
};

}  // namespace promptsweep::worker
