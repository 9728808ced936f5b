#include "worker/tensors/noise.h"

#include <ATen/CPUGeneratorImpl.h>

namespace promptsweep::worker {

ImageNoise::ImageNoise(int64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed))) {}

void ImageNoise::Normal(const at::Tensor& out) { out.normal_(0.0, 1.0, generator_); }

void ImageNoise::Exponential(const at::Tensor& out) { out.exponential_(1.0, generator_); }

}  // namespace promptsweep::worker
